use alloy::consensus::{Transaction as _, TxEnvelope};
use alloy::eips::eip2718::Decodable2718;
use alloy_primitives::{Bytes, U256, address, keccak256};
use domain::ChainId;
use signer::{Secret, SignerSource, Transaction, TransactionSigner};

const KEY: &str = "7a28b5ba57c53603b0b07b56bba752f7784bf506fa95edc395f5cf6c7514fe9d";

fn signer() -> TransactionSigner {
    SignerSource::Key(Secret::new(KEY.to_owned())).load_for_transactions().unwrap()
}

fn transaction() -> Transaction {
    Transaction {
        chain: ChainId(31_337),
        nonce: 7,
        to: address!("00000000000000000000000000000000000a11ce"),
        value: U256::from(5),
        input: Bytes::from_static(&[1, 2, 3]),
        gas_limit: 50_000,
        max_fee_per_gas: 3_000_000_000,
        max_priority_fee_per_gas: 1_000_000_000,
    }
}

#[test]
fn a_signed_transaction_is_the_one_that_was_asked_for() {
    let (signer, asked) = (signer(), transaction());
    let signed = signer.sign(&asked).unwrap();
    let read = TxEnvelope::decode_2718_exact(&signed.raw).unwrap();
    let TxEnvelope::Eip1559(read) = read else { panic!("{read:?}") };
    let recovered = read.signature().recover_address_from_prehash(&read.signature_hash());
    assert_eq!(recovered.unwrap(), signer.address());
    let read = read.tx();
    assert_eq!(read.chain_id(), Some(asked.chain.0));
    assert_eq!(read.nonce(), asked.nonce);
    assert_eq!(read.to(), Some(asked.to));
    assert_eq!(read.value(), asked.value);
    assert_eq!(read.input(), &asked.input);
    assert_eq!(read.gas_limit(), asked.gas_limit);
    assert_eq!(read.max_fee_per_gas(), asked.max_fee_per_gas);
    assert_eq!(read.max_priority_fee_per_gas(), Some(asked.max_priority_fee_per_gas));
    assert_eq!(signed.hash, keccak256(&signed.raw));
}

#[test]
fn the_same_transaction_signed_twice_is_one() {
    assert_eq!(signer().sign(&transaction()).unwrap(), signer().sign(&transaction()).unwrap());
    let next = Transaction { nonce: 8, ..transaction() };
    assert_ne!(signer().sign(&next).unwrap().hash, signer().sign(&transaction()).unwrap().hash);
}

#[test]
fn a_transaction_signer_shows_its_address_and_not_its_key() {
    let shown = format!("{:?}", signer());
    assert!(shown.contains(&format!("{:?}", signer().address())), "{shown}");
    assert!(!shown.contains(&KEY[..16]), "{shown}");
}
