use alloy_primitives::{Address, Bytes, U256, address, bytes, hex};
use erc4337::packed::{
    UnpackError, init_code_with_delegate, is_eip7702_init_code, pack_pair, unpack_pair,
};
use erc4337::user_operation::delegate_of_code;
use erc4337::{Factory, PackedUserOperation, UserOperation};
use proptest::prelude::*;

use crate::arbitrary;

const DELEGATE: Address = address!("e6Cae83BdE06E4c305530e199D7217f42808555B");

fn empty_packed() -> PackedUserOperation {
    UserOperation::default().pack()
}

#[test]
fn an_empty_operation_packs_to_empty_bytes() {
    let packed = empty_packed();
    assert!(packed.initCode.is_empty() && packed.paymasterAndData.is_empty());
    assert_eq!(packed.nonce, U256::ZERO);
}

#[test]
fn short_and_padded_markers_mean_the_same() {
    let padded = [hex!("7702").as_slice(), &[0; 18]].concat();
    for len in [2, 3, 19, 20] {
        assert!(is_eip7702_init_code(&padded[..len]), "{len} bytes");
        assert_eq!(
            init_code_with_delegate(&padded[..len], DELEGATE),
            Some(Bytes::copy_from_slice(DELEGATE.as_slice()))
        );
        let packed = PackedUserOperation {
            initCode: Bytes::copy_from_slice(&padded[..len]),
            ..empty_packed()
        };
        assert_eq!(
            UserOperation::unpack(&packed).unwrap().factory,
            Some(Factory::Eip7702 { init_data: Bytes::new() })
        );
    }
    let with_data = [padded.as_slice(), b"init"].concat();
    assert_eq!(
        init_code_with_delegate(&with_data, DELEGATE),
        Some([DELEGATE.as_slice(), b"init"].concat().into())
    );
}

#[test]
fn what_only_begins_like_the_marker_is_no_marker() {
    assert!(!is_eip7702_init_code(&[]));
    assert!(!is_eip7702_init_code(&hex!("77")));
    assert!(!is_eip7702_init_code(&hex!("7703")));
    assert!(!is_eip7702_init_code(&hex!("770201")));
    let mut almost = [0_u8; 20];
    almost[..2].copy_from_slice(&hex!("7702"));
    almost[19] = 1;
    assert!(!is_eip7702_init_code(&almost));
    assert_eq!(init_code_with_delegate(&almost, DELEGATE), None);
}

#[test]
fn fields_too_short_for_their_content_do_not_unpack() {
    let init_code = PackedUserOperation { initCode: bytes!("00112233"), ..empty_packed() };
    assert_eq!(UserOperation::unpack(&init_code), Err(UnpackError::InitCode(4)));
    let paymaster = PackedUserOperation { paymasterAndData: vec![1; 51].into(), ..empty_packed() };
    assert_eq!(UserOperation::unpack(&paymaster), Err(UnpackError::PaymasterAndData(51)));
}

#[test]
fn a_delegate_is_read_only_from_a_designation() {
    let code = [hex!("ef0100").as_slice(), DELEGATE.as_slice()].concat();
    assert_eq!(delegate_of_code(&code), Some(DELEGATE));
    assert_eq!(delegate_of_code(&code[..22]), None);
    assert_eq!(delegate_of_code(&[code.as_slice(), &[0]].concat()), None);
    assert_eq!(delegate_of_code(&[]), None);
    assert_eq!(delegate_of_code(&hex!("6080604052")), None);
}

proptest! {
    #[test]
    fn an_operation_survives_packing(op in arbitrary::operation()) {
        let packed = op.pack();
        let carried = UserOperation { eip7702_auth: None, ..op };
        prop_assert_eq!(UserOperation::unpack(&packed), Ok(carried));
    }

    #[test]
    fn halves_survive_packing(upper: u128, lower: u128) {
        prop_assert_eq!(unpack_pair(pack_pair(upper, lower)), (upper, lower));
    }
}
