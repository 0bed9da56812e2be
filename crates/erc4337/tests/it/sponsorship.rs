use alloy_primitives::{Address, B256, B512, Bytes, U256};
use erc4337::hash::{HashError, PAYMASTER_SIGNATURE_MAGIC};
use erc4337::sponsorship::{
    HEADER_LEN, PARALLEL_PAYMASTER_DATA_LEN, PAYMASTER_DATA_LEN, PaymasterData, PaymasterDataError,
    PaymasterHeader, SignatureForm, TIME_LIMIT, ValidityWindow, WindowError,
    parallel_sponsorship_digest, recover_signer, sponsorship_digest,
};
use erc4337::user_operation::PaymasterSignatureField;
use erc4337::{Factory, PaymasterFields, UserOperation};
use proptest::prelude::*;

use crate::{arbitrary, key};

const CHAIN: u64 = 31_337;
const ENTRY_POINT: Address = Address::repeat_byte(0xee);
const DELEGATE: Address = Address::repeat_byte(0xde);

/// A header whose window is for the test to set.
const HEADER: PaymasterHeader = PaymasterHeader {
    paymaster: Address::ZERO,
    verification_gas_limit: 0,
    post_op_gas_limit: 0,
    window: match ValidityWindow::new(0, 1) {
        Ok(window) => window,
        Err(_) => unreachable!(),
    },
};

fn digest(op: &UserOperation, header: &PaymasterHeader) -> B256 {
    sponsorship_digest(op, CHAIN, ENTRY_POINT, header, Some(DELEGATE)).unwrap()
}

fn parallel_digest(op: &UserOperation, header: &PaymasterHeader) -> B256 {
    parallel_sponsorship_digest(op, CHAIN, ENTRY_POINT, header, Some(DELEGATE)).unwrap()
}

fn longer(bytes: &Bytes) -> Bytes {
    [bytes, [0].as_slice()].concat().into()
}

/// The operation with one covered field changed, once for each of them.
fn changed_operations(op: &UserOperation) -> Vec<(&'static str, UserOperation)> {
    let factory = match &op.factory {
        None => Factory::Deploy { factory: Address::repeat_byte(1), data: Bytes::new() },
        Some(Factory::Deploy { factory, data }) => {
            Factory::Deploy { factory: *factory, data: longer(data) }
        }
        Some(Factory::Eip7702 { init_data }) => Factory::Eip7702 { init_data: longer(init_data) },
    };
    let sender = op.sender ^ Address::with_last_byte(1);
    let one = U256::from(1);
    let with = |change: &dyn Fn(&mut UserOperation)| {
        let mut changed = op.clone();
        change(&mut changed);
        changed
    };
    vec![
        ("sender", with(&|op| op.sender = sender)),
        ("nonce", with(&|op| op.nonce ^= one)),
        ("factory", with(&|op| op.factory = Some(factory.clone()))),
        ("callData", with(&|op| op.call_data = longer(&op.call_data))),
        ("callGasLimit", with(&|op| op.call_gas_limit ^= 1)),
        ("verificationGasLimit", with(&|op| op.verification_gas_limit ^= 1)),
        ("preVerificationGas", with(&|op| op.pre_verification_gas ^= one)),
        ("maxFeePerGas", with(&|op| op.max_fee_per_gas ^= 1)),
        ("maxPriorityFeePerGas", with(&|op| op.max_priority_fee_per_gas ^= 1)),
    ]
}

/// The header with one field changed, once for each of them.
fn changed_headers(header: &PaymasterHeader) -> Vec<(&'static str, PaymasterHeader)> {
    let paymaster = header.paymaster ^ Address::with_last_byte(1);
    let (after, until) = (header.window.valid_after(), header.window.valid_until());
    let window = |after, until| ValidityWindow::new(after, until).unwrap();
    let other_after = if after == 0 { 1 } else { after - 1 };
    let other_until = if until == TIME_LIMIT - 1 { until - 1 } else { until + 1 };
    vec![
        ("paymaster", PaymasterHeader { paymaster, ..*header }),
        (
            "paymasterVerificationGasLimit",
            PaymasterHeader {
                verification_gas_limit: header.verification_gas_limit ^ 1,
                ..*header
            },
        ),
        (
            "paymasterPostOpGasLimit",
            PaymasterHeader { post_op_gas_limit: header.post_op_gas_limit ^ 1, ..*header },
        ),
        ("validAfter", PaymasterHeader { window: window(other_after, until), ..*header }),
        ("validUntil", PaymasterHeader { window: window(after, other_until), ..*header }),
    ]
}

fn room_on_both_sides(header: &PaymasterHeader) -> bool {
    header.window.valid_after() + 2 < header.window.valid_until()
}

proptest! {
    #[test]
    fn every_covered_field_changes_the_digest(
        op in arbitrary::operation(),
        header in arbitrary::header().prop_filter("room", room_on_both_sides),
    ) {
        for make in [sponsorship_digest, parallel_sponsorship_digest] {
            let digest = |op: &UserOperation, header: &PaymasterHeader| {
                make(op, CHAIN, ENTRY_POINT, header, Some(DELEGATE)).unwrap()
            };
            let before = digest(&op, &header);
            for (field, changed) in changed_operations(&op) {
                prop_assert_ne!(before, digest(&changed, &header), "{}", field);
            }
            for (field, changed) in changed_headers(&header) {
                prop_assert_ne!(before, digest(&op, &changed), "{}", field);
            }
            let elsewhere = |chain, entry_point| {
                make(&op, chain, entry_point, &header, Some(DELEGATE)).unwrap()
            };
            prop_assert_ne!(before, elsewhere(CHAIN + 1, ENTRY_POINT));
            prop_assert_ne!(before, elsewhere(CHAIN, Address::ZERO));
        }
        prop_assert_ne!(digest(&op, &header), parallel_digest(&op, &header));
    }

    #[test]
    fn the_digest_ignores_signatures_and_what_the_operation_says_of_its_paymaster(
        op in arbitrary::operation(),
        header in arbitrary::header(),
        signature in arbitrary::signature(),
    ) {
        let other = UserOperation {
            signature: longer(&op.signature),
            paymaster: Some(header.sign_with(SignatureForm::Sequential, signature)),
            ..op.clone()
        };
        prop_assert_eq!(digest(&op, &header), digest(&other, &header));
        prop_assert_eq!(parallel_digest(&op, &header), parallel_digest(&other, &header));
    }

    #[test]
    fn the_delegate_counts_only_with_the_marker(
        op in arbitrary::operation(),
        header in arbitrary::header(),
    ) {
        let other = sponsorship_digest(&op, CHAIN, ENTRY_POINT, &header, Some(Address::ZERO));
        let same = Ok(digest(&op, &header)) == other;
        prop_assert_eq!(same, !op.has_eip7702_marker());
    }

    #[test]
    fn paymaster_data_survives_encoding(
        header in arbitrary::header(),
        signature in arbitrary::signature(),
    ) {
        let fields = header.sign_with(SignatureForm::Sequential, signature);
        prop_assert_eq!(fields.data.len(), PAYMASTER_DATA_LEN);
        prop_assert_eq!(fields.pack().len(), 128);
        let header_bytes = header.to_bytes();
        prop_assert_eq!(header_bytes.len(), HEADER_LEN);
        prop_assert!(fields.pack().starts_with(&header_bytes));
        prop_assert_eq!(PaymasterHeader::of(&fields), Ok(header));
        let data = PaymasterData { window: header.window, signature };
        prop_assert_eq!(PaymasterData::decode(&fields.data), Ok((data, SignatureForm::Sequential)));
        let apart = fields.data_fields(PaymasterSignatureField::Apart);
        prop_assert_eq!(apart, (fields.data, None));
    }

    #[test]
    fn parallel_paymaster_data_survives_encoding(
        header in arbitrary::header(),
        signature in arbitrary::signature(),
    ) {
        let fields = header.sign_with(SignatureForm::Parallel, signature);
        prop_assert_eq!(fields.data.len(), PARALLEL_PAYMASTER_DATA_LEN);
        prop_assert_eq!(fields.pack().len(), 138);
        prop_assert!(fields.pack().starts_with(&header.to_bytes()));
        prop_assert_eq!(PaymasterHeader::of(&fields), Ok(header));
        let data = PaymasterData { window: header.window, signature };
        prop_assert_eq!(PaymasterData::decode(&fields.data), Ok((data, SignatureForm::Parallel)));
        let inline = fields.data_fields(PaymasterSignatureField::Inline);
        prop_assert_eq!(inline, (fields.data.clone(), None));
        let (window, apart) = fields.data_fields(PaymasterSignatureField::Apart);
        prop_assert_eq!(apart, Some(Bytes::from(signature.to_vec())));
        let suffix = [[0x00, 0x40].as_slice(), &PAYMASTER_SIGNATURE_MAGIC].concat();
        let joined = [&window, signature.as_slice(), &suffix].concat();
        prop_assert_eq!(&joined, &fields.data);
    }

    #[test]
    fn another_end_is_no_parallel_form(
        header in arbitrary::header(),
        place in 76_usize..86,
        bit in 0_u32..8,
    ) {
        let mut data = header.sign_with(SignatureForm::Parallel, B512::repeat_byte(1)).data.to_vec();
        data[place] ^= 1 << bit;
        prop_assert_eq!(PaymasterData::decode(&data), Err(PaymasterDataError::Length(86)));
    }

    #[test]
    fn decoding_never_panics(bytes: Vec<u8>, near in proptest::collection::vec(any::<u8>(), 76)) {
        let _ = PaymasterData::decode(&bytes);
        let _ = PaymasterData::decode(&near);
    }

    #[test]
    fn recovery_never_panics(digest: [u8; 32], signature in arbitrary::signature()) {
        let _ = recover_signer(B256::from(digest), &signature);
    }

    #[test]
    fn no_final_data_has_fewer_zero_bytes_than_the_stub(
        valid_after in 0_u64..u64::from(u32::MAX) - 1,
        signature in arbitrary::signature(),
    ) {
        let window = ValidityWindow::new(valid_after, u64::from(u32::MAX)).unwrap();
        let header = PaymasterHeader { window, ..HEADER };
        for form in [SignatureForm::Sequential, SignatureForm::Parallel] {
            let data = header.sign_with(form, signature).data;
            let stub = form.stub_paymaster_data();
            prop_assert_eq!(data.len(), stub.len());
            prop_assert!(zero_bytes(&data) >= zero_bytes(&stub));
        }
    }
}

fn zero_bytes(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| **byte == 0).count()
}

#[test]
fn a_marker_without_a_known_delegate_has_no_digest() {
    let op = UserOperation {
        factory: Some(Factory::Eip7702 { init_data: Bytes::new() }),
        ..UserOperation::default()
    };
    let header = HEADER;
    for form in [SignatureForm::Sequential, SignatureForm::Parallel] {
        let digest = form.digest(&op, CHAIN, ENTRY_POINT, &header, None);
        assert_eq!(digest, Err(HashError::DelegateUnknown));
    }
}

#[test]
fn windows_without_end_or_room_or_beyond_the_limit_are_refused() {
    assert_eq!(ValidityWindow::new(0, 0), Err(WindowError::Unbounded));
    assert_eq!(ValidityWindow::new(5, 5), Err(WindowError::Empty));
    assert_eq!(ValidityWindow::new(6, 5), Err(WindowError::Empty));
    assert_eq!(ValidityWindow::new(0, TIME_LIMIT), Err(WindowError::TooLate));
    assert!(ValidityWindow::new(0, TIME_LIMIT - 1).is_ok());
}

#[test]
fn data_of_another_paymaster_is_not_ours() {
    let of = |data: Vec<u8>| {
        PaymasterHeader::of(&PaymasterFields { data: data.into(), ..PaymasterFields::default() })
    };
    assert_eq!(of(vec![]), Err(PaymasterDataError::Length(0)));
    assert_eq!(of(vec![1; 75]), Err(PaymasterDataError::Length(75)));
    assert_eq!(of(vec![1; 77]), Err(PaymasterDataError::Length(77)));
    assert_eq!(of(vec![0; 76]), Err(PaymasterDataError::Window(WindowError::Unbounded)));
}

#[test]
fn the_stub_holds_a_real_signature_without_a_zero_byte() {
    let (stub, _) =
        PaymasterData::decode(&SignatureForm::Sequential.stub_paymaster_data()).unwrap();
    let (digest, signature) = key::stub_signature();
    assert_eq!(stub.signature, signature, "expected {signature}");
    assert_eq!(recover_signer(digest, &stub.signature), Some(key::address_of(key::FIRST)));
    assert_eq!(zero_bytes(stub.signature.as_slice()), 0);
}

#[test]
fn the_stub_is_open_at_every_time_a_chain_can_have() {
    let (stub, _) =
        PaymasterData::decode(&SignatureForm::Sequential.stub_paymaster_data()).unwrap();
    let first_mainnet_block = 1_438_269_988;
    assert!(stub.window.valid_after() < first_mainnet_block);
    assert_eq!(stub.window.valid_until(), TIME_LIMIT - 1);
    assert_eq!(zero_bytes(&SignatureForm::Sequential.stub_paymaster_data()), 2);
}
