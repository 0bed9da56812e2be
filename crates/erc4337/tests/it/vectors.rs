//! Writes and checks the vectors to which the contract's digest is held as well.
//!
//! `UPDATE_VECTORS=1 cargo test -p erc4337` rewrites the file; otherwise the test fails when it differs.

use std::path::PathBuf;

use alloy_primitives::{Address, B256, Bytes, U256, address, keccak256};
use erc4337::entry_point::EntryPointVersion;
use erc4337::hash::user_op_hash;
use erc4337::packed::unpack_pair;
use erc4337::sponsorship::{
    PaymasterHeader, SignatureForm, TIME_LIMIT, ValidityWindow, recover_signer,
};
use erc4337::{Factory, PackedUserOperation, UserOperation};
use serde::Serialize;

use crate::key;

const PAYMASTER: Address = address!("0057195e4d00000000000000000000000000c0de");
const DELEGATE: Address = address!("e6Cae83BdE06E4c305530e199D7217f42808555B");

#[derive(Serialize)]
struct Vectors {
    vectors: Vec<Vector>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Vector {
    name: String,
    chain_id: String,
    entry_point: Address,
    paymaster: Address,
    delegate: Address,
    op: Operation,
    /// Zero in the sequential form.
    user_op_hash: B256,
    digest: B256,
    signer: Address,
    signer_key: B256,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Operation {
    sender: Address,
    nonce: B256,
    init_code: Bytes,
    call_data: Bytes,
    account_gas_limits: B256,
    pre_verification_gas: B256,
    gas_fees: B256,
    paymaster_and_data: Bytes,
    signature: Bytes,
}

impl From<PackedUserOperation> for Operation {
    fn from(packed: PackedUserOperation) -> Self {
        Self {
            sender: packed.sender,
            nonce: packed.nonce.into(),
            init_code: packed.initCode,
            call_data: packed.callData,
            account_gas_limits: packed.accountGasLimits,
            pre_verification_gas: packed.preVerificationGas.into(),
            gas_fees: packed.gasFees,
            paymaster_and_data: packed.paymasterAndData,
            signature: packed.signature,
        }
    }
}

/// One vector before it is signed.
struct Case {
    name: String,
    chain_id: u64,
    entry_point: Address,
    op: UserOperation,
    header: PaymasterHeader,
    delegate: Option<Address>,
    short_marker: bool,
    form: SignatureForm,
    key: B256,
}

impl Case {
    /// An existing account that calls another contract on a local chain with EntryPoint v0.7.
    fn plain(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            chain_id: 31_337,
            entry_point: EntryPointVersion::V07.canonical_address(),
            op: UserOperation {
                sender: address!("8ba1f109551bD432803012645Ac136ddd64DBA72"),
                nonce: U256::from_limbs([3, 7, 0, 0]),
                call_data: bytes_of(228),
                call_gas_limit: 55_000,
                verification_gas_limit: 120_000,
                pre_verification_gas: U256::from(48_123),
                max_fee_per_gas: 3_000_000_007,
                max_priority_fee_per_gas: 1_000_000_000,
                signature: vec![0xab; 65].into(),
                ..UserOperation::default()
            },
            header: PaymasterHeader {
                paymaster: PAYMASTER,
                verification_gas_limit: 60_000,
                post_op_gas_limit: 0,
                window: ValidityWindow::new(0, 1_900_000_000).unwrap(),
            },
            delegate: None,
            short_marker: false,
            form: SignatureForm::Sequential,
            key: key::FIRST,
        }
    }

    fn eip7702(name: &str, version: EntryPointVersion, init_data: &[u8]) -> Self {
        let mut case = Self::plain(name);
        case.entry_point = version.canonical_address();
        case.op.factory = Some(Factory::Eip7702 { init_data: Bytes::copy_from_slice(init_data) });
        case.delegate = Some(DELEGATE);
        case
    }

    /// The same on EntryPoint v0.9, in the parallel form.
    fn in_parallel(mut self) -> Self {
        self.name = format!("{}, parallel", self.name);
        self.entry_point = EntryPointVersion::V09.canonical_address();
        self.form = SignatureForm::Parallel;
        self
    }

    fn sign(self) -> Vector {
        let digest = self
            .form
            .digest(&self.op, self.chain_id, self.entry_point, &self.header, self.delegate)
            .unwrap();
        let signature = key::sign(self.key, digest);
        let signer = key::address_of(self.key);
        assert_eq!(recover_signer(digest, &signature), Some(signer));
        let paymaster = self.header.sign_with(self.form, signature);
        let op = UserOperation { paymaster: Some(paymaster), ..self.op };
        let v09 = EntryPointVersion::V09;
        let hash = user_op_hash(&op, v09, self.entry_point, self.chain_id, self.delegate).unwrap();
        let mut packed = op.pack();
        if self.short_marker {
            packed.initCode = packed.initCode.slice(..2);
        }
        Vector {
            name: self.name,
            chain_id: self.chain_id.to_string(),
            entry_point: self.entry_point,
            paymaster: self.header.paymaster,
            delegate: self.delegate.unwrap_or_default(),
            op: packed.into(),
            user_op_hash: if self.form == SignatureForm::Parallel { hash } else { B256::ZERO },
            digest,
            signer,
            signer_key: self.key,
        }
    }
}

/// Bytes of which some are zero, the same every time.
fn bytes_of(len: usize) -> Bytes {
    let words = (0_u64..).flat_map(|n| [keccak256(n.to_be_bytes()), B256::ZERO]);
    words.flatten().take(len).collect::<Vec<u8>>().into()
}

fn deployments() -> Vec<Case> {
    let mut deploy = Case::plain("factory deploy");
    deploy.op.factory = Some(Factory::Deploy {
        factory: address!("9406Cc6185a346906296840746125a0E44976454"),
        data: bytes_of(68),
    });
    let mut bare = Case::plain("factory without data");
    bare.op.factory = Some(Factory::Deploy {
        factory: address!("9406Cc6185a346906296840746125a0E44976454"),
        data: Bytes::new(),
    });
    let mut almost_marker = Case::plain("factory that begins like the EIP-7702 marker");
    almost_marker.op.factory = Some(Factory::Deploy {
        factory: address!("7702000000000000000000000000000000000001"),
        data: bytes_of(4),
    });
    almost_marker.entry_point = EntryPointVersion::V08.canonical_address();
    vec![deploy, bare, almost_marker]
}

fn calls() -> Vec<Case> {
    let mut empty = Case::plain("empty callData");
    empty.op.call_data = Bytes::new();
    let mut long = Case::plain("long callData");
    long.op.call_data = bytes_of(5_001);
    vec![empty, long]
}

fn delegations() -> Vec<Case> {
    let mut short = Case::eip7702("EIP-7702 marker of 2 bytes", EntryPointVersion::V08, b"");
    short.short_marker = true;
    let mut v07 =
        Case::eip7702("EIP-7702 marker of 2 bytes, EntryPoint v0.7", EntryPointVersion::V07, b"");
    v07.short_marker = true;
    vec![
        short,
        Case::eip7702("EIP-7702 marker of 20 bytes", EntryPointVersion::V08, b""),
        Case::eip7702("EIP-7702 marker with init data", EntryPointVersion::V09, &bytes_of(36)),
        v07,
    ]
}

fn extremes() -> Vec<Case> {
    let mut largest = Case::plain("largest values");
    largest.chain_id = u64::MAX;
    largest.entry_point = Address::repeat_byte(0xff);
    largest.op.sender = Address::repeat_byte(0xfe);
    largest.op.nonce = U256::MAX;
    largest.op.call_gas_limit = u128::MAX;
    largest.op.verification_gas_limit = u128::MAX;
    largest.op.pre_verification_gas = U256::MAX;
    largest.op.max_fee_per_gas = u128::MAX;
    largest.op.max_priority_fee_per_gas = u128::MAX;
    largest.header = PaymasterHeader {
        paymaster: Address::repeat_byte(0xfd),
        verification_gas_limit: u128::MAX,
        post_op_gas_limit: u128::MAX,
        window: ValidityWindow::new(TIME_LIMIT - 2, TIME_LIMIT - 1).unwrap(),
    };
    let mut smallest = Case::plain("smallest values");
    smallest.chain_id = 1;
    smallest.op = UserOperation::default();
    smallest.header.verification_gas_limit = 0;
    smallest.header.window = ValidityWindow::new(0, 1).unwrap();
    vec![largest, smallest]
}

fn places() -> Vec<Case> {
    let mut v08 = Case::plain("EntryPoint v0.8 on another chain");
    v08.entry_point = EntryPointVersion::V08.canonical_address();
    v08.chain_id = 8_453;
    let mut v09 = Case::plain("EntryPoint v0.9, second signer, window that opens later");
    v09.entry_point = EntryPointVersion::V09.canonical_address();
    v09.header.window = ValidityWindow::new(1_800_000_000, 1_900_000_000).unwrap();
    v09.key = key::SECOND;
    vec![v08, v09]
}

/// Operations whose every value comes from a counter through a hash, with bytes of all lengths around a word's.
fn arbitrary() -> Vec<Case> {
    (0_u64..24).map(arbitrary_case).collect()
}

fn arbitrary_case(index: u64) -> Case {
    let word = |field: u64| keccak256([index.to_be_bytes(), field.to_be_bytes()].concat());
    let number = |field: u64| unpack_pair(word(field)).0;
    let bytes = |field: u64| {
        let len = number(field) % 100;
        word(field).iter().cycle().take(len.try_into().unwrap()).copied().collect::<Bytes>()
    };
    let mut case = Case::plain(&format!("arbitrary {index}"));
    case.op = UserOperation {
        sender: Address::from_word(word(1)),
        nonce: word(2).into(),
        factory: (!index.is_multiple_of(3))
            .then(|| Factory::Deploy { factory: Address::from_word(word(3)), data: bytes(4) }),
        call_data: bytes(5),
        call_gas_limit: number(6),
        verification_gas_limit: number(7),
        pre_verification_gas: word(8).into(),
        max_fee_per_gas: number(9),
        max_priority_fee_per_gas: number(10),
        signature: bytes(11),
        ..UserOperation::default()
    };
    case.header.verification_gas_limit = number(12);
    case.header.post_op_gas_limit = number(13);
    if index.is_multiple_of(2) { case } else { case.in_parallel() }
}

fn parallel() -> Vec<Case> {
    let mut extremes = extremes();
    // A v0.9 EntryPoint hashes by itself, so these are at the address where the contract's test has it.
    extremes.iter_mut().for_each(|case| case.chain_id = 31_337);
    let mut cases = vec![Case::plain("existing account")];
    cases.extend(deployments());
    cases.extend(calls());
    cases.extend(delegations());
    cases.extend(extremes);
    cases.into_iter().map(Case::in_parallel).collect()
}

fn vectors() -> Vectors {
    let mut cases = vec![Case::plain("existing account")];
    cases.extend(deployments());
    cases.extend(calls());
    cases.extend(delegations());
    cases.extend(extremes());
    cases.extend(places());
    cases.extend(parallel());
    cases.extend(arbitrary());
    Vectors { vectors: cases.into_iter().map(Case::sign).collect() }
}

fn file() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../contracts/test/vectors/sponsorship-digest.json")
}

#[test]
fn the_committed_vectors_are_what_this_crate_signs() {
    let ours = serde_json::to_string_pretty(&vectors()).unwrap() + "\n";
    if std::env::var_os("UPDATE_VECTORS").is_some() {
        std::fs::write(file(), &ours).unwrap();
    }
    let committed = std::fs::read_to_string(file()).unwrap_or_default();
    assert!(
        committed == ours,
        "{} differs; `UPDATE_VECTORS=1 cargo test -p erc4337` rewrites it",
        file().display()
    );
}

#[test]
fn short_and_padded_markers_have_one_digest() {
    let digest = |name: &str| {
        let all = vectors().vectors;
        all.iter().find(|vector| vector.name == name).unwrap().digest
    };
    assert_eq!(digest("EIP-7702 marker of 2 bytes"), digest("EIP-7702 marker of 20 bytes"));
    assert_eq!(
        digest("EIP-7702 marker of 2 bytes, parallel"),
        digest("EIP-7702 marker of 20 bytes, parallel")
    );
}
