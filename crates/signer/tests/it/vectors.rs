use std::fs;

use alloy_primitives::{Address, B256, Bytes, Signature, U256};
use domain::seal::Sealed;
use serde_json::Value;
use signer::{LocalSigner, Secret, SignerSource};

const VECTORS: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/../../contracts/test/vectors/sponsorship-digest.json");

/// Half of the curve's order, the highest `s` of the lower of two possible signatures
/// ([EIP-2](https://eips.ethereum.org/EIPS/eip-2)).
const HALF_ORDER: U256 = U256::from_limbs([
    0xdfe9_2f46_681b_20a0,
    0x5d57_6e73_57a4_501d,
    0xffff_ffff_ffff_ffff,
    0x7fff_ffff_ffff_ffff,
]);

struct Vector {
    name: String,
    digest: B256,
    signer: Address,
    key: String,
    signature: [u8; 64],
}

fn vectors() -> Vec<Vector> {
    let file: Value =
        serde_json::from_str(&fs::read_to_string(VECTORS).expect(
            "the vectors are made by `UPDATE_VECTORS=1 cargo test -p erc4337` and committed",
        ))
        .unwrap();
    let vectors: Vec<Vector> = file["vectors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|vector| {
            let text = |field: &Value| field.as_str().unwrap().to_owned();
            let paymaster_and_data: Bytes =
                text(&vector["op"]["paymasterAndData"]).parse().unwrap();
            Vector {
                name: text(&vector["name"]),
                digest: text(&vector["digest"]).parse().unwrap(),
                signer: text(&vector["signer"]).parse().unwrap(),
                key: text(&vector["signerKey"]),
                // In both forms behind the header; the parallel one has a suffix.
                signature: paymaster_and_data[64..128].try_into().unwrap(),
            }
        })
        .collect();
    assert!(!vectors.is_empty());
    vectors
}

fn signer_of(vector: &Vector) -> LocalSigner {
    SignerSource::Key(Secret::new(vector.key.clone())).load().unwrap()
}

fn opened(sealed: &Sealed) -> [u8; 64] {
    #[expect(
        clippy::disallowed_methods,
        reason = "a test of the signature itself has no grant to commit"
    )]
    *sealed.open()
}

#[test]
fn the_signature_is_the_one_in_the_contracts_vectors() {
    for vector in vectors() {
        let sealed = signer_of(&vector).sign(vector.digest).unwrap();
        assert_eq!(opened(&sealed), vector.signature, "{}", vector.name);
    }
}

#[test]
fn the_signature_recovers_to_the_signers_address() {
    for vector in vectors() {
        let signer = signer_of(&vector);
        assert_eq!(signer.address(), vector.signer, "{}", vector.name);

        let signature = Signature::from_erc2098(&opened(&signer.sign(vector.digest).unwrap()));
        let recovered = signature.recover_address_from_prehash(&vector.digest);
        assert_eq!(recovered.unwrap(), vector.signer, "{}", vector.name);
    }
}

#[test]
fn both_parities_occur_and_s_is_always_the_lower_one() {
    let signer = SignerSource::Key(Secret::new("11".repeat(32))).load().unwrap();
    let mut parities = [0_u32; 2];
    for digest in 0..64_u8 {
        let digest = B256::repeat_byte(digest);
        let signature = Signature::from_erc2098(&opened(&signer.sign(digest).unwrap()));
        assert!(signature.s() <= HALF_ORDER);
        assert_eq!(signature.recover_address_from_prehash(&digest).unwrap(), signer.address());
        parities[usize::from(signature.v())] += 1;
    }
    assert!(parities[0] > 0 && parities[1] > 0);
}
