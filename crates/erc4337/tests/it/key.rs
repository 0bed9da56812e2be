//! Well-known test keys. They hold nothing anywhere.

use alloy_primitives::{Address, B256, B512, Signature, b256, keccak256};
use k256::ecdsa::SigningKey;

/// The first key of the mnemonic that every development node uses.
pub(crate) const FIRST: B256 =
    b256!("ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80");
/// The second one.
pub(crate) const SECOND: B256 =
    b256!("59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d");

pub(crate) fn address_of(key: B256) -> Address {
    Address::from_private_key(&SigningKey::from_slice(key.as_slice()).unwrap())
}

/// The compact signature. It is the same every time (RFC 6979).
pub(crate) fn sign(key: B256, digest: B256) -> B512 {
    let key = SigningKey::from_slice(key.as_slice()).unwrap();
    let (signature, recovery) = key.sign_prehash_recoverable(digest.as_slice()).unwrap();
    B512::from(Signature::from((signature, recovery)).as_erc2098())
}

/// The first signature by [`FIRST`] over `stipend stub <n>` in which no byte is zero.
pub(crate) fn stub_signature() -> (B256, B512) {
    (0..)
        .map(|n| keccak256(format!("stipend stub {n}")))
        .map(|digest| (digest, sign(FIRST, digest)))
        .find(|(_, signature)| !signature.contains(&0))
        .unwrap()
}
