use alloy_primitives::{Address, B256, Bytes};
use erc4337::hash::{HashError, PAYMASTER_SIGNATURE_MAGIC, user_op_hash};
use erc4337::{EntryPointVersion, Factory, PaymasterFields, UserOperation};
use proptest::prelude::*;
use serde::Deserialize;

use crate::arbitrary;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Case {
    name: String,
    version: EntryPointVersion,
    entry_point: Address,
    chain_id: u64,
    user_operation: UserOperation,
    packed: Packed,
    user_op_hash: B256,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Packed {
    init_code: Bytes,
    account_gas_limits: B256,
    gas_fees: B256,
    paymaster_and_data: Bytes,
}

#[derive(Deserialize)]
struct Fixture {
    cases: Vec<Case>,
}

fn cases() -> Vec<Case> {
    let fixture: Fixture =
        serde_json::from_str(include_str!("../fixtures/user-op-hash.json")).unwrap();
    fixture.cases
}

#[test]
fn the_hash_is_the_one_that_clients_compute() {
    for version in EntryPointVersion::ALL {
        assert!(cases().iter().any(|case| case.version == version));
    }
    for case in cases() {
        let delegate = case.user_operation.effective_delegate(None);
        let hash = user_op_hash(
            &case.user_operation,
            case.version,
            case.entry_point,
            case.chain_id,
            delegate,
        );
        assert_eq!(hash, Ok(case.user_op_hash), "{}", case.name);
    }
}

#[test]
fn the_packed_form_is_the_one_that_clients_send() {
    for case in cases() {
        let packed = case.user_operation.pack();
        assert_eq!(packed.accountGasLimits, case.packed.account_gas_limits);
        assert_eq!(packed.gasFees, case.packed.gas_fees);
        assert_eq!(packed.paymasterAndData, case.packed.paymaster_and_data);
        if case.packed.init_code.len() == 2 {
            assert!(packed.initCode.starts_with(&case.packed.init_code));
            assert_eq!(packed.initCode.len(), 20);
        } else {
            assert_eq!(packed.initCode, case.packed.init_code, "{}", case.name);
        }
    }
}

fn hash_of(
    op: &UserOperation,
    version: EntryPointVersion,
    delegate: Option<Address>,
) -> Result<B256, HashError> {
    user_op_hash(op, version, version.canonical_address(), 1, delegate)
}

#[test]
fn a_marker_without_a_known_delegate_has_no_hash_since_0_8() {
    let op = UserOperation {
        factory: Some(Factory::Eip7702 { init_data: Bytes::new() }),
        ..UserOperation::default()
    };
    assert!(hash_of(&op, EntryPointVersion::V07, None).is_ok());
    for version in [EntryPointVersion::V08, EntryPointVersion::V09] {
        assert_eq!(hash_of(&op, version, None), Err(HashError::DelegateUnknown));
        assert!(hash_of(&op, version, Some(Address::ZERO)).is_ok());
    }
}

fn with_paymaster_data(data: &[&[u8]]) -> UserOperation {
    UserOperation {
        paymaster: Some(PaymasterFields {
            data: data.concat().into(),
            ..PaymasterFields::default()
        }),
        ..UserOperation::default()
    }
}

#[test]
fn the_paymaster_signature_is_left_out_on_0_9_only() {
    let magic = PAYMASTER_SIGNATURE_MAGIC;
    let one = with_paymaster_data(&[b"data", &[1; 64], &[0, 64], &magic]);
    let other = with_paymaster_data(&[b"data", &[2; 65], &[0, 65], &magic]);
    let v09 = EntryPointVersion::V09;
    assert_eq!(hash_of(&one, v09, None), hash_of(&other, v09, None));
    let v08 = EntryPointVersion::V08;
    assert_ne!(hash_of(&one, v08, None), hash_of(&other, v08, None));
}

#[test]
fn a_paymaster_signature_of_no_bytes_is_part_of_the_data() {
    let magic = PAYMASTER_SIGNATURE_MAGIC;
    let v09 = EntryPointVersion::V09;
    let empty = with_paymaster_data(&[b"data", &[0, 0], &magic]);
    let bare = with_paymaster_data(&[b"data", &magic]);
    assert_ne!(hash_of(&empty, v09, None), hash_of(&bare, v09, None));
}

#[test]
fn a_paymaster_signature_longer_than_the_data_is_refused_as_on_chain() {
    let magic = PAYMASTER_SIGNATURE_MAGIC;
    let v09 = EntryPointVersion::V09;
    let exact = with_paymaster_data(&[&[7; 5], &[0, 5], &magic]);
    assert!(hash_of(&exact, v09, None).is_ok());
    let over = with_paymaster_data(&[&[7; 5], &[0, 6], &magic]);
    assert_eq!(
        hash_of(&over, v09, None),
        Err(HashError::PaymasterSignatureLength { signature: 6, total: 67 })
    );
}

proptest! {
    #[test]
    fn the_signature_and_the_authorisation_are_never_hashed(
        op in arbitrary::operation(),
        delegate in arbitrary::address(),
    ) {
        let bare = UserOperation { signature: Bytes::new(), eip7702_auth: None, ..op.clone() };
        for version in EntryPointVersion::ALL {
            prop_assert_eq!(
                hash_of(&op, version, Some(delegate)),
                hash_of(&bare, version, Some(delegate))
            );
        }
    }

    #[test]
    fn the_delegate_counts_only_with_the_marker(op in arbitrary::operation()) {
        let [one, other] = [[1; 20], [2; 20]].map(|bytes| Some(Address::from(bytes)));
        let v08 = EntryPointVersion::V08;
        let same = hash_of(&op, v08, one) == hash_of(&op, v08, other);
        prop_assert_eq!(same, !op.has_eip7702_marker());
    }
}
