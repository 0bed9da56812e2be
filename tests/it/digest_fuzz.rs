//! What the service signs is what the contract checks, on random operations against every EntryPoint: the Rust digest, the
//! contract's readable definition and its fast path, and one flipped bit that none of them forgives.

use alloy::{
    primitives::{Address, B256, B512, Bytes, U256},
    providers::Provider,
    rpc::types::TransactionRequest,
    signers::{SignerSync, local::PrivateKeySigner},
    sol,
    sol_types::SolCall,
};
use devstack::anvil::Node;
use e2e::{Env, on_shared_stack};
use erc4337::{
    EntryPointVersion, Factory, UserOperation,
    events::IEntryPoint,
    packed::PackedUserOperation as Packed,
    sponsorship::{PaymasterHeader, SignatureForm, TIME_LIMIT, ValidityWindow},
    user_operation::{DELEGATION_PREFIX, EIP7702_MARKER},
};
use futures::{StreamExt, TryStreamExt, stream};
use rand::{Rng, SeedableRng, rngs::StdRng, seq::IndexedRandom};

/// The first seed of the operations that are the same in every run.
const SEED: u64 = 0x5719_e4d0;
/// Operations on each EntryPoint, and as many again in the parallel form: the same in every run, and as many that
/// differ from run to run. A failure names its seed.
const OPERATIONS: u64 = 200;
/// Accounts that delegate their code, on each EntryPoint.
const DELEGATED: usize = 8;
/// Around the ends of words, and of what stands in front of a factory's data.
const LENGTHS: [usize; 14] = [0, 1, 2, 4, 19, 20, 31, 32, 33, 63, 64, 65, 128, 200];
const LONGEST: usize = 200;
const AT_ONCE: usize = 24;

sol! {
    struct PackedUserOperation {
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
        function digest(PackedUserOperation calldata op) external view returns (bytes32);
        function digestOfHash(bytes32 userOpHash) external view returns (bytes32);
        function validatePaymasterUserOp(PackedUserOperation calldata op, bytes32 userOpHash, uint256 maxCost)
            external view returns (bytes memory context, uint256 validationData);
    }
}

/// A paymaster and its EntryPoint.
#[derive(Debug, Clone, Copy)]
struct Place {
    form: SignatureForm,
    entry_point: Address,
    paymaster: Address,
    chain_id: u64,
}

/// A random operation, signed for, as a bundler would send it.
#[derive(Debug)]
struct Case {
    place: Place,
    digest: B256,
    /// validAfter ‖ validUntil ‖ zeros, which is what the contract answers when it accepts.
    window: U256,
    packed: Packed,
    /// The same, but for one bit outside the account's signature.
    flipped: Packed,
}

fn bytes(rng: &mut StdRng) -> Bytes {
    let length = match LENGTHS.choose(rng) {
        Some(length) if rng.random_bool(0.6) => *length,
        Some(_) | None => rng.random_range(0..=LONGEST),
    };
    (0..length).map(|_| rng.random::<u8>()).collect()
}

/// How the account comes to be, and who it is.
fn account(rng: &mut StdRng, delegated: &[(Address, Address)]) -> (Option<Factory>, Address) {
    let sender = Address::from(rng.random::<[u8; 20]>());
    let (known, _) = *delegated.choose(rng).unwrap();
    match rng.random_range(0..6) {
        0 | 1 => (None, sender),
        2 | 3 => {
            let factory = Address::from(rng.random::<[u8; 20]>());
            (Some(Factory::Deploy { factory, data: bytes(rng) }), sender)
        }
        4 => (Some(Factory::Eip7702 { init_data: bytes(rng) }), known),
        // Begins like the marker, and ends like none.
        _ => {
            let mut factory = EIP7702_MARKER;
            factory.0[19] = 1;
            (Some(Factory::Deploy { factory, data: bytes(rng) }), known)
        }
    }
}

fn operation(rng: &mut StdRng, delegated: &[(Address, Address)]) -> UserOperation {
    let (factory, sender) = account(rng, delegated);
    UserOperation {
        sender,
        nonce: U256::from_be_bytes(rng.random::<[u8; 32]>()),
        factory,
        call_data: bytes(rng),
        call_gas_limit: rng.random(),
        verification_gas_limit: rng.random(),
        pre_verification_gas: U256::from_be_bytes(rng.random::<[u8; 32]>()),
        max_fee_per_gas: rng.random(),
        max_priority_fee_per_gas: rng.random(),
        signature: bytes(rng),
        ..UserOperation::default()
    }
}

fn header(rng: &mut StdRng, paymaster: Address) -> PaymasterHeader {
    let valid_until = rng.random_range(1..TIME_LIMIT);
    PaymasterHeader {
        paymaster,
        verification_gas_limit: rng.random(),
        post_op_gas_limit: rng.random(),
        window: ValidityWindow::new(rng.random_range(0..valid_until), valid_until).unwrap(),
    }
}

impl Case {
    fn random(
        place: Place,
        seed: u64,
        signer: &PrivateKeySigner,
        delegated: &[(Address, Address)],
    ) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut op = operation(&mut rng, delegated);
        let header = header(&mut rng, place.paymaster);
        let delegate = delegated
            .iter()
            .find(|(sender, _)| *sender == op.sender && op.has_eip7702_marker())
            .map(|(_, delegate)| *delegate);
        let Place { form, entry_point, chain_id, .. } = place;
        let digest = form.digest(&op, chain_id, entry_point, &header, delegate).unwrap();
        let signature = signer.sign_hash_sync(&digest).unwrap().as_erc2098();
        op.paymaster = Some(header.sign_with(form, B512::from(signature)));
        let mut packed = op.pack();
        if packed.initCode.as_ref() == EIP7702_MARKER.as_slice() && rng.random() {
            packed.initCode = Bytes::copy_from_slice(&EIP7702_MARKER[..2]);
        }
        let flipped = flip_a_bit(&packed, &mut rng);
        let window = U256::from(header.window.valid_after()) << 208
            | U256::from(header.window.valid_until()) << 160;
        Self { place, digest, window, packed, flipped }
    }
}

/// The operation with one bit changed, in any field but the account's signature.
fn flip_a_bit(packed: &Packed, rng: &mut StdRng) -> Packed {
    let mut fields: [Vec<u8>; 8] = [
        packed.sender.to_vec(),
        packed.nonce.to_be_bytes_vec(),
        packed.initCode.to_vec(),
        packed.callData.to_vec(),
        packed.accountGasLimits.to_vec(),
        packed.preVerificationGas.to_be_bytes_vec(),
        packed.gasFees.to_vec(),
        packed.paymasterAndData.to_vec(),
    ];
    let total: usize = fields.iter().map(Vec::len).sum();
    let mut place = rng.random_range(0..total);
    for field in &mut fields {
        if let Some(byte) = field.get_mut(place) {
            *byte ^= 1 << rng.random_range(0..8);
            break;
        }
        place -= field.len();
    }
    let [sender, nonce, init_code, call_data, account_gas, pre_verification, fees, paymaster] =
        fields;
    Packed {
        sender: Address::from_slice(&sender),
        nonce: U256::from_be_slice(&nonce),
        initCode: init_code.into(),
        callData: call_data.into(),
        accountGasLimits: B256::from_slice(&account_gas),
        preVerificationGas: U256::from_be_slice(&pre_verification),
        gasFees: B256::from_slice(&fees),
        paymasterAndData: paymaster.into(),
        signature: packed.signature.clone(),
    }
}

/// The operation in the words of the paymaster's interface.
fn told(op: &Packed) -> PackedUserOperation {
    PackedUserOperation {
        sender: op.sender,
        nonce: op.nonce,
        initCode: op.initCode.clone(),
        callData: op.callData.clone(),
        accountGasLimits: op.accountGasLimits,
        preVerificationGas: op.preVerificationGas,
        gasFees: op.gasFees,
        paymasterAndData: op.paymasterAndData.clone(),
        signature: op.signature.clone(),
    }
}

/// The hash that the EntryPoint would pass on; `None` where it refuses the operation before it has one.
async fn user_op_hash(node: &Node, place: Place, op: &Packed) -> Option<B256> {
    let call = IEntryPoint::getUserOpHashCall { userOp: op.clone() };
    node.view(place.entry_point, &call).await.ok()
}

/// What the paymaster answers to the EntryPoint.
async fn validate(
    node: &Node,
    place: Place,
    op: &Packed,
    user_op_hash: B256,
) -> Result<U256, String> {
    let call = IStipendPaymaster::validatePaymasterUserOpCall {
        op: told(op),
        userOpHash: user_op_hash,
        maxCost: U256::ZERO,
    };
    let request = TransactionRequest::default()
        .from(place.entry_point)
        .to(place.paymaster)
        .input(call.abi_encode().into());
    let answer = node.provider().call(request).await.map_err(|error| error.to_string())?;
    if answer.len() != 96 {
        return Err(format!("answered {} bytes", answer.len()));
    }
    let answer = IStipendPaymaster::validatePaymasterUserOpCall::abi_decode_returns(&answer)
        .map_err(|error| error.to_string())?;
    if !answer.context.is_empty() {
        return Err("answered a context".to_owned());
    }
    Ok(answer.validationData)
}

/// Holds one operation against the chain.
async fn check(node: &Node, case: &Case) -> Result<(), String> {
    let place = case.place;
    let words = |error: devstack::Error| error.to_string();
    let is_parallel = place.form == SignatureForm::Parallel;
    let hash = user_op_hash(node, place, &case.packed).await;
    let theirs = if is_parallel {
        let user_op_hash = hash.ok_or("the EntryPoint has no hash for it")?;
        let call = IStipendPaymaster::digestOfHashCall { userOpHash: user_op_hash };
        node.view(place.paymaster, &call).await.map_err(words)?
    } else {
        let call = IStipendPaymaster::digestCall { op: told(&case.packed) };
        node.view(place.paymaster, &call).await.map_err(words)?
    };
    if theirs != case.digest {
        return Err(format!("our digest is {}, the contract's {theirs}", case.digest));
    }
    let answer = validate(node, place, &case.packed, hash.unwrap_or_default()).await?;
    if answer != case.window {
        return Err(format!("not accepted for its window {:x}: {answer:x}", case.window));
    }
    let hash = user_op_hash(node, place, &case.flipped).await;
    if is_parallel && hash.is_none() {
        return Ok(());
    }
    let answer = validate(node, place, &case.flipped, hash.unwrap_or_default()).await?;
    // The low 160 bits are 1 for "not signed" (https://eips.ethereum.org/EIPS/eip-4337#paymasters).
    if answer << 96 != U256::from(1) << 96 {
        return Err(format!("accepted with a flipped bit: {:?}", case.flipped));
    }
    Ok(())
}

/// Accounts that delegate, each with its delegate. All parts are random, so that they meet no other test's.
async fn delegate(node: &Node) -> Vec<(Address, Address)> {
    let mut rng = StdRng::seed_from_u64(SEED);
    let mut delegated = Vec::new();
    for _ in 0..DELEGATED {
        let sender = Address::from(rng.random::<[u8; 20]>());
        let delegate = Address::from(rng.random::<[u8; 20]>());
        let code = [DELEGATION_PREFIX.as_slice(), delegate.as_slice()].concat();
        node.set_code(sender, &code.into()).await.unwrap();
        delegated.push((sender, delegate));
    }
    delegated
}

/// Random operations in one form on one EntryPoint.
async fn fuzz(env: &Env, version: EntryPointVersion, form: SignatureForm, start: u64) {
    let (node, chain) = (env.stack.node(), &env.stack.chain);
    let place = Place {
        form,
        entry_point: chain.entry_points[&version.to_string()],
        paymaster: chain.paymasters[&version.to_string()],
        chain_id: chain.chain_id,
    };
    let signer = PrivateKeySigner::from_bytes(&chain.signer_key).unwrap();
    let delegated = delegate(node).await;
    let checked = stream::iter(0..OPERATIONS)
        .map(async |index| {
            let seed = start.wrapping_add(index);
            let case = Case::random(place, seed, &signer, &delegated);
            check(node, &case)
                .await
                .map_err(|error| format!("the operation of seed {seed:#x}: {error}\n{case:#?}"))
        })
        .buffer_unordered(AT_ONCE)
        .try_fold(0, async |count, ()| Ok(count + 1));
    assert_eq!(checked.await, Ok(OPERATIONS));
}

#[test]
fn random_operations_have_one_digest_in_rust_and_on_every_entry_point() {
    on_shared_stack(async |env| {
        for version in EntryPointVersion::ALL {
            for start in [SEED, rand::random()] {
                fuzz(env, version, SignatureForm::Sequential, start).await;
            }
        }
    });
}

#[test]
fn random_operations_of_the_parallel_form_have_one_digest_in_rust_and_on_chain() {
    on_shared_stack(async |env| {
        for start in [SEED, rand::random()] {
            fuzz(env, EntryPointVersion::V09, SignatureForm::Parallel, start).await;
        }
    });
}
