//! The contracts as these commands call them, and one deployed instance.

use alloy_primitives::{Address, B256, Bytes};
use alloy_sol_types::sol;
use chain::RpcError;
use chain::node::{At, Node};
use domain::ChainId;

use super::artifact::{Artifact, Difference};
use super::error::PaymasterError;

sol! {
    /// What an operator does with `contracts/src/StipendPaymaster.sol`.
    #[derive(Debug, PartialEq, Eq)]
    interface IPaymaster {
        function entryPoint() external view returns (address);
        function owner() external view returns (address);
        function pendingOwner() external view returns (address);
        function getSigners() external view returns (address[] memory);
        function depositGuardian() external view returns (address);
        function vault() external view returns (address);

        function deposit() external payable;
        function withdraw(address to, uint256 amount) external;
        function moveDepositToVault() external;
        function addStake(uint32 unstakeDelaySec) external payable;
        function unlockStake() external;
        function withdrawStake(address to) external;

        error CallerNotOwner(address caller, address owner);
        error CallerNotGuardian(address caller, address guardian);
    }

    /// The stake manager of an EntryPoint
    /// (https://eips.ethereum.org/EIPS/eip-4337#reputation-scoring-and-throttlingbanning-for-global-entities):
    /// functions and events are the same in v0.7, v0.8 and v0.9; the errors are v0.9's, the others have texts.
    #[derive(Debug, PartialEq, Eq)]
    interface IStakes {
        struct DepositInfo {
            uint256 deposit;
            bool staked;
            uint112 stake;
            uint32 unstakeDelaySec;
            uint48 withdrawTime;
        }

        function getDepositInfo(address account) external view returns (DepositInfo memory info);

        event Deposited(address indexed account, uint256 totalDeposit);
        event Withdrawn(address indexed account, address withdrawAddress, uint256 amount);
        event StakeLocked(address indexed account, uint256 totalStaked, uint256 unstakeDelaySec);
        event StakeUnlocked(address indexed account, uint256 withdrawTime);
        event StakeWithdrawn(address indexed account, address withdrawAddress, uint256 amount);

        error InsufficientDeposit(uint256 currentDeposit, uint256 withdrawAmount);
        error DepositWithdrawalFailed(address account, address withdrawAddress, uint256 amount, bytes revertReason);
        error InvalidUnstakeDelay(uint256 newUnstakeDelaySec, uint256 currentUnstakeDelaySec);
        error InvalidStake(uint256 msgValue, uint256 currentStake);
        error NotStaked(uint256 currentStake, uint256 unstakeDelaySec, bool staked);
        error StakeNotUnlocked(uint256 withdrawTime, uint256 blockTimestamp);
        error WithdrawalNotDue(uint256 withdrawTime, uint256 blockTimestamp);
        error StakeWithdrawalFailed(address account, address withdrawAddress, uint256 amount, bytes revertReason);
    }
}

/// Who is who in an instance: the arguments of its constructor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Roles {
    /// The EntryPoint that it serves.
    pub(crate) entry_point: Address,
    /// Who withdraws and manages the stake.
    pub(crate) owner: Address,
    /// Whose signatures make it pay, in the order of the constructor.
    pub(crate) signers: Vec<Address>,
    /// Who may send the deposit to the vault.
    pub(crate) guardian: Address,
    /// Where the guardian sends it.
    pub(crate) vault: Address,
}

/// A deployed instance as it describes itself, at the head.
#[derive(Clone, Debug)]
pub(crate) struct Instance {
    /// Its address.
    pub(crate) address: Address,
    /// What it was made with; the owner is today's.
    pub(crate) roles: Roles,
    /// Who may accept the ownership, or zero.
    pub(crate) pending_owner: Address,
    /// Where its code is not what the sources compile to.
    pub(crate) difference: Option<Difference>,
}

impl Instance {
    /// Reads an instance and holds its code against ours.
    pub(crate) async fn read(
        node: &Node,
        chain: ChainId,
        address: Address,
    ) -> Result<Self, PaymasterError> {
        let artifact = Artifact::embedded()?;
        let code = node.code(address).await?;
        let masked = artifact.compare(&code);
        if masked == Some(Difference::NoCode) {
            return Err(PaymasterError::NoContract { chain, address });
        }
        let (roles, pending_owner) = match read_roles(node, address).await {
            Ok(read) => read,
            Err(cause) => {
                return Err(match masked {
                    Some(difference) => PaymasterError::Another { address, difference },
                    None => cause.into(),
                });
            }
        };
        let difference = match masked {
            Some(difference) => Some(difference),
            None => artifact.compare_whole(&code, &roles, (chain, address))?,
        };
        Ok(Self { address, roles, pending_owner, difference })
    }

    /// Refuses an instance whose code is not what the sources compile to: nobody should send ether there.
    pub(crate) fn insist_on_code(&self) -> Result<(), PaymasterError> {
        match &self.difference {
            None => Ok(()),
            Some(difference) => {
                let difference = difference.clone();
                Err(PaymasterError::Another { address: self.address, difference })
            }
        }
    }

    /// Tells of code that is not what the sources compile to, where it must not keep an owner from their ether: an
    /// instance of an older release differs too.
    pub(crate) fn warn_of_code(&self) {
        if let Some(difference) = &self.difference {
            eprintln!(
                "Mind: the code at {} is not what this release compiles to ({difference}). That is as it should be for \
                 an instance of an older release.",
                self.address
            );
        }
    }

    /// Deposit and stake in the EntryPoint.
    pub(crate) async fn stakes(
        &self,
        node: &Node,
        at: Option<B256>,
    ) -> Result<IStakes::DepositInfo, RpcError> {
        let call = IStakes::getDepositInfoCall { account: self.address };
        node.call(self.roles.entry_point, &call, at.map_or(At::Head, At::Block)).await
    }
}

async fn read_roles(node: &Node, address: Address) -> Result<(Roles, Address), RpcError> {
    let roles = Roles {
        entry_point: node.call(address, &IPaymaster::entryPointCall {}, At::Head).await?,
        owner: node.call(address, &IPaymaster::ownerCall {}, At::Head).await?,
        signers: node.call(address, &IPaymaster::getSignersCall {}, At::Head).await?,
        guardian: node.call(address, &IPaymaster::depositGuardianCall {}, At::Head).await?,
        vault: node.call(address, &IPaymaster::vaultCall {}, At::Head).await?,
    };
    let pending = node.call(address, &IPaymaster::pendingOwnerCall {}, At::Head).await?;
    Ok((roles, pending))
}

/// A call's input.
pub(crate) fn input(call: &impl alloy_sol_types::SolCall) -> Bytes {
    call.abi_encode().into()
}
