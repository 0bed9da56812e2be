//! Operations of every shape, for property tests.

use alloy_primitives::{Address, B512, Bytes, U256};
use erc4337::sponsorship::{PaymasterHeader, TIME_LIMIT, ValidityWindow};
use erc4337::user_operation::EIP7702_MARKER;
use erc4337::{Eip7702Auth, Factory, PaymasterFields, UserOperation};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

pub(crate) fn address() -> impl Strategy<Value = Address> {
    any::<[u8; 20]>().prop_map(Address::from)
}

fn bytes() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..80).prop_map(Bytes::from)
}

fn word() -> impl Strategy<Value = U256> {
    any::<[u8; 32]>().prop_map(U256::from_be_bytes)
}

fn factory() -> impl Strategy<Value = Factory> {
    let deploy = (address(), bytes())
        .prop_filter("the marker is not a factory", |(factory, _)| *factory != EIP7702_MARKER)
        .prop_map(|(factory, data)| Factory::Deploy { factory, data });
    let eip7702 = bytes().prop_map(|init_data| Factory::Eip7702 { init_data });
    prop_oneof![deploy, eip7702]
}

fn paymaster() -> impl Strategy<Value = PaymasterFields> {
    (address(), any::<u128>(), any::<u128>(), bytes()).prop_map(
        |(paymaster, verification_gas_limit, post_op_gas_limit, data)| PaymasterFields {
            paymaster,
            verification_gas_limit,
            post_op_gas_limit,
            data,
        },
    )
}

fn auth() -> impl Strategy<Value = Eip7702Auth> {
    (address(), word(), any::<u64>(), word(), word(), 0_u8..2).prop_map(
        |(address, chain_id, nonce, r, s, y_parity)| Eip7702Auth {
            address,
            chain_id,
            nonce,
            r,
            s,
            y_parity: U256::from(y_parity),
        },
    )
}

pub(crate) fn operation() -> impl Strategy<Value = UserOperation> {
    let who = (address(), word(), option::of(factory()), bytes());
    let gas = (any::<u128>(), any::<u128>(), word());
    let fees = (any::<u128>(), any::<u128>());
    let rest = (option::of(paymaster()), bytes(), option::of(auth()));
    (who, gas, fees, rest).prop_map(|(who, gas, fees, rest)| UserOperation {
        sender: who.0,
        nonce: who.1,
        factory: who.2,
        call_data: who.3,
        call_gas_limit: gas.0,
        verification_gas_limit: gas.1,
        pre_verification_gas: gas.2,
        max_fee_per_gas: fees.0,
        max_priority_fee_per_gas: fees.1,
        paymaster: rest.0,
        signature: rest.1,
        eip7702_auth: rest.2,
    })
}

fn window() -> impl Strategy<Value = ValidityWindow> {
    (0..TIME_LIMIT - 1)
        .prop_flat_map(|after| (Just(after), after + 1..TIME_LIMIT))
        .prop_map(|(after, until)| ValidityWindow::new(after, until).unwrap())
}

pub(crate) fn header() -> impl Strategy<Value = PaymasterHeader> {
    (address(), any::<u128>(), any::<u128>(), window()).prop_map(
        |(paymaster, verification_gas_limit, post_op_gas_limit, window)| PaymasterHeader {
            paymaster,
            verification_gas_limit,
            post_op_gas_limit,
            window,
        },
    )
}

pub(crate) fn signature() -> impl Strategy<Value = B512> {
    any::<[u8; 64]>().prop_map(B512::from)
}
