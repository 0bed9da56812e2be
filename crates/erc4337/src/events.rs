//! What the EntryPoint says in its logs, and the functions of it that Stipend calls.
//!
//! `UserOperationEvent` is the only event that settles anything. The deposit events of the stake manager carry
//! different things: `Deposited` the *new total*, `Withdrawn` the *amount*.

use alloy_primitives::{Address, B256, U256};
use alloy_sol_types::{SolEvent, sol};

sol! {
    /// An operation in the form of the contracts
    /// ([ERC-4337](https://eips.ethereum.org/EIPS/eip-4337#entrypoint-interface)).
    #[derive(Debug, PartialEq, Eq)]
    struct PackedUserOperation {
        /// The smart account that acts.
        address sender;
        /// The key (upper 192 bits) and the sequence.
        uint256 nonce;
        /// factory(20) ‖ data, the EIP-7702 marker ‖ data, or empty.
        bytes initCode;
        /// What the account is called with.
        bytes callData;
        /// verificationGasLimit(16) ‖ callGasLimit(16).
        bytes32 accountGasLimits;
        /// Gas that the bundler is paid for what the EntryPoint cannot measure.
        uint256 preVerificationGas;
        /// maxPriorityFeePerGas(16) ‖ maxFeePerGas(16), wei.
        bytes32 gasFees;
        /// paymaster(20) ‖ verification gas(16) ‖ postOp gas(16) ‖ data, or empty.
        bytes paymasterAndData;
        /// The account's signature.
        bytes signature;
    }

    /// The part of the EntryPoint that Stipend reads and calls; the same in v0.7, v0.8 and v0.9.
    interface IEntryPoint {
        /// An operation was executed and paid for, whether its call succeeded or reverted.
        #[derive(Debug, PartialEq, Eq)]
        event UserOperationEvent(
            bytes32 indexed userOpHash,
            address indexed sender,
            address indexed paymaster,
            uint256 nonce,
            bool success,
            uint256 actualGasCost,
            uint256 actualGasUsed
        );
        /// The validation loop is over; what follows in the bundle is execution.
        #[derive(Debug, PartialEq, Eq)]
        event BeforeExecution();
        /// A deposit grew to `totalDeposit`.
        #[derive(Debug, PartialEq, Eq)]
        event Deposited(address indexed account, uint256 totalDeposit);
        /// `amount` was taken out of a deposit.
        #[derive(Debug, PartialEq, Eq)]
        event Withdrawn(address indexed account, address withdrawAddress, uint256 amount);

        /// Why the validation of an operation fails.
        #[derive(Debug, PartialEq, Eq)]
        error FailedOp(uint256 opIndex, string reason);

        /// The same, with what the account, factory or paymaster reverted with.
        #[derive(Debug, PartialEq, Eq)]
        error FailedOpWithRevert(uint256 opIndex, string reason, bytes inner);

        /// The next nonce of a sender for a key.
        function getNonce(address sender, uint192 key) external view returns (uint256 nonce);
        /// The deposit of an account, in wei.
        function balanceOf(address account) external view returns (uint256);
        /// The hash that the account signs.
        function getUserOpHash(PackedUserOperation calldata userOp) external view returns (bytes32);
        /// Adds the value of the call to the deposit of an account.
        function depositTo(address account) external payable;
        /// Executes a bundle and pays its gas to the beneficiary.
        function handleOps(PackedUserOperation[] calldata ops, address payable beneficiary) external;
    }
}

/// The first topic of every `UserOperationEvent`.
pub const USER_OPERATION_EVENT_TOPIC: B256 = IEntryPoint::UserOperationEvent::SIGNATURE_HASH;

/// What one operation cost, as the EntryPoint charged it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UserOperationEvent {
    /// The hash that the EntryPoint computed: evidence, never a key.
    pub user_op_hash: B256,
    /// The smart account.
    pub sender: Address,
    /// Who paid; the zero address when the account did.
    pub paymaster: Address,
    /// The slot that the operation used.
    pub nonce: U256,
    /// Whether its call succeeded. A reverted call is charged all the same.
    pub success: bool,
    /// What the payer's deposit fell by, in wei.
    pub actual_gas_cost: U256,
    /// The gas that the cost stands for.
    pub actual_gas_used: U256,
}

/// Why a log is not the event it was read as.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EventError {
    /// The first topic names another event.
    #[error("the log is not a UserOperationEvent")]
    OtherEvent,
    /// The topics or the data do not fit the event's definition.
    #[error("the log does not decode as a UserOperationEvent: {0}")]
    Malformed(String),
}

impl UserOperationEvent {
    /// Reads the event from a log's topics and data.
    ///
    /// # Errors
    /// [`EventError::OtherEvent`] for another first topic, [`EventError::Malformed`] when the number of topics, the
    /// length of the data or a padded value is not exactly what the EntryPoint emits.
    pub fn decode(topics: &[B256], data: &[u8]) -> Result<Self, EventError> {
        if topics.first() != Some(&USER_OPERATION_EVENT_TOPIC) {
            return Err(EventError::OtherEvent);
        }
        if topics.len() != 4 {
            return Err(EventError::Malformed(format!("{} topics instead of 4", topics.len())));
        }
        if data.len() != 128 {
            return Err(EventError::Malformed(format!(
                "{} bytes of data instead of 128",
                data.len()
            )));
        }
        let event = IEntryPoint::UserOperationEvent::decode_raw_log_validate(topics, data)
            .map_err(|error| EventError::Malformed(error.to_string()))?;
        Ok(Self {
            user_op_hash: event.userOpHash,
            sender: event.sender,
            paymaster: event.paymaster,
            nonce: event.nonce,
            success: event.success,
            actual_gas_cost: event.actualGasCost,
            actual_gas_used: event.actualGasUsed,
        })
    }
}
