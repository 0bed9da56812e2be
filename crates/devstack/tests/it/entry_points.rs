use alloy::{
    primitives::{Address, B512, Bytes, U256, address, bytes},
    sol,
};
use devstack::{Stack, entry_points, keys};
use erc4337::{
    EntryPointVersion, Factory, PaymasterFields, UserOperation,
    events::IEntryPoint,
    hash::{PAYMASTER_SIGNATURE_MAGIC, user_op_hash},
    sponsorship::{PaymasterHeader, SignatureForm, ValidityWindow, sponsorship_digest},
};

use crate::on_stack;

const DELEGATE: Address = address!("00000000000000000000000000000000deadbeef");
const DELEGATED_SENDER: Address = address!("1000000000000000000000000000000000007702");

fn plain() -> UserOperation {
    UserOperation {
        sender: address!("10000000000000000000000000000000000000aa"),
        nonce: (U256::from(7) << 64) | U256::from(3),
        call_data: bytes!("b61d27f6"),
        call_gas_limit: 90_000,
        verification_gas_limit: 120_000,
        pre_verification_gas: U256::from(51_234),
        max_fee_per_gas: 4_000_000_000,
        max_priority_fee_per_gas: 1_000_000_000,
        signature: bytes!("ff"),
        ..UserOperation::default()
    }
}

/// Operations of every shape that the hash treats differently.
fn shapes() -> Vec<(&'static str, UserOperation)> {
    let paymaster = |data: Bytes| PaymasterFields {
        paymaster: address!("20000000000000000000000000000000000000bb"),
        verification_gas_limit: 60_000,
        post_op_gas_limit: 1,
        data,
    };
    let deploy = Factory::Deploy {
        factory: address!("30000000000000000000000000000000000000cc"),
        data: bytes!("5fbfb9cf0102"),
    };
    let delegated = |init_data: Bytes| UserOperation {
        sender: DELEGATED_SENDER,
        factory: Some(Factory::Eip7702 { init_data }),
        ..plain()
    };
    let suffixed = [&[7; 40], [9; 65].as_slice(), &[0, 65], &PAYMASTER_SIGNATURE_MAGIC].concat();
    let empty_suffix = [[7; 40].as_slice(), &[0, 0], &PAYMASTER_SIGNATURE_MAGIC].concat();
    let paid = |data: Bytes| UserOperation { paymaster: Some(paymaster(data)), ..plain() };
    vec![
        ("an account that exists", plain()),
        ("a deployment", UserOperation { factory: Some(deploy), ..plain() }),
        ("a sponsored operation", paid(Bytes::from(vec![5; 76]))),
        ("a trailing paymaster signature", paid(suffixed.into())),
        ("an empty trailing paymaster signature", paid(empty_suffix.into())),
        ("an EIP-7702 account", delegated(Bytes::new())),
        ("an EIP-7702 account with a call on start", delegated(bytes!("8129fc1c"))),
        (
            "the largest values",
            UserOperation {
                nonce: U256::MAX,
                call_gas_limit: u128::MAX,
                verification_gas_limit: u128::MAX,
                pre_verification_gas: U256::MAX,
                max_fee_per_gas: u128::MAX,
                max_priority_fee_per_gas: u128::MAX,
                ..plain()
            },
        ),
    ]
}

async fn delegate_the_sender(stack: &Stack) {
    let code = [[0xef, 0x01, 0x00].as_slice(), DELEGATE.as_slice()].concat();
    stack.node().set_code(DELEGATED_SENDER, &code.into()).await.unwrap();
}

#[test]
fn our_user_op_hash_is_the_entry_points() {
    on_stack(async |stack| {
        delegate_the_sender(stack).await;
        for version in EntryPointVersion::ALL {
            let entry_point = version.canonical_address();
            for (shape, op) in shapes() {
                let call = IEntryPoint::getUserOpHashCall { userOp: op.pack() };
                let theirs = stack.node().view(entry_point, &call).await.unwrap();
                let chain_id = stack.chain.chain_id;
                let ours = user_op_hash(&op, version, entry_point, chain_id, Some(DELEGATE));
                assert_eq!(ours, Ok(theirs), "{shape} on {version}");
            }
        }
    });
}

sol! {
    struct Packed {
        address sender;
        uint256 nonce;
        bytes initCode;
        bytes callData;
        bytes32 accountGasLimits;
        uint256 preVerificationGas;
        bytes32 gasFees;
        bytes paymasterAndData;
        bytes signature;
    }

    interface IStipendPaymaster {
        function digest(Packed calldata op) external view returns (bytes32);
        function getSigners() external view returns (address[] memory list);
        function owner() external view returns (address);
    }
}

fn packed(op: &UserOperation) -> Packed {
    let op = op.pack();
    Packed {
        sender: op.sender,
        nonce: op.nonce,
        initCode: op.initCode,
        callData: op.callData,
        accountGasLimits: op.accountGasLimits,
        preVerificationGas: op.preVerificationGas,
        gasFees: op.gasFees,
        paymasterAndData: op.paymasterAndData,
        signature: op.signature,
    }
}

#[test]
fn our_sponsorship_digest_is_the_deployed_contracts() {
    on_stack(async |stack| {
        delegate_the_sender(stack).await;
        for (version, entry_point) in &stack.chain.entry_points {
            let paymaster = stack.chain.paymasters[version];
            for (shape, mut op) in shapes() {
                let header = PaymasterHeader {
                    paymaster,
                    verification_gas_limit: 60_000,
                    post_op_gas_limit: 1,
                    window: ValidityWindow::new(0, 1_900_000_000).unwrap(),
                };
                op.paymaster =
                    Some(header.sign_with(SignatureForm::Sequential, B512::repeat_byte(1)));
                let call = IStipendPaymaster::digestCall { op: packed(&op) };
                let theirs = stack.node().view(paymaster, &call).await.unwrap();
                let chain_id = stack.chain.chain_id;
                let ours = sponsorship_digest(&op, chain_id, *entry_point, &header, Some(DELEGATE));
                assert_eq!(ours, Ok(theirs), "{shape} on {version}");
            }
        }
    });
}

#[test]
fn each_paymaster_has_its_owner_its_signers_and_its_deposit() {
    on_stack(async |stack| {
        let node = stack.node();
        for (version, entry_point) in &stack.chain.entry_points {
            let paymaster = stack.chain.paymasters[version];
            let signers =
                node.view(paymaster, &IStipendPaymaster::getSignersCall {}).await.unwrap();
            assert_eq!(signers, [stack.chain.signer, keys::STANDBY]);
            let owner = node.view(paymaster, &IStipendPaymaster::ownerCall {}).await.unwrap();
            assert_eq!(owner, stack.chain.paymaster_owner);
            let call = entry_points::IEntryPoint::balanceOfCall { account: paymaster };
            let deposit = node.view(*entry_point, &call).await.unwrap();
            assert_eq!(deposit, U256::from(10_000_000_000_000_000_000_u128), "{version}");
        }
    });
}
