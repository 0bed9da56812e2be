//! Somebody with a smart account and points, who acts through a real client library.

use alloy::{
    primitives::{Address, B256, U256, keccak256},
    sol,
    sol_types::SolCall,
};
use devstack::{
    Error,
    driver::{Account, Client, Fees, Operation, Receipt, Request},
};
use serde_json::{Value, json};

use crate::{
    env::Env,
    ledger::{Balances, Reservation},
    wait,
};

sol! {
    /// The target that counts.
    interface ICounter {
        /// Counts one more call of the caller's.
        function increment() external;
        /// The calls of one caller.
        function countOf(address caller) external view returns (uint256);
    }

    /// The target that can be broken.
    interface IFlaky {
        /// Breaks or mends it.
        function setBroken(bool broken) external;
        /// Reverts while it is broken.
        function poke() external;
    }
}

/// The fees of the driver, in wei per gas.
const FEES: (u64, u64) = (4_000_000_000, 1_000_000_000);
const SETTLE_SECONDS: u64 = 30;

/// A kind of smart account with the library that drives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wallet {
    /// The client library.
    pub client: Client,
    /// The kind of account.
    pub account: Account,
    /// The EntryPoint's version.
    pub entry_point: &'static str,
}

impl Wallet {
    /// viem with a SimpleAccount on EntryPoint 0.7.
    pub const SIMPLE_07: Self = Self::viem(Account::Simple, "0.7");
    /// viem with a SimpleAccount on EntryPoint 0.8.
    pub const SIMPLE_08: Self = Self::viem(Account::Simple, "0.8");
    /// viem with an EIP-7702 account on EntryPoint 0.8.
    pub const EIP7702_08: Self = Self::viem(Account::Simple7702, "0.8");
    /// viem with an EIP-7702 account on EntryPoint 0.9.
    pub const EIP7702_09: Self = Self::viem(Account::Simple7702, "0.9");
    /// One of each EntryPoint.
    pub const EACH_VERSION: [Self; 3] = [Self::SIMPLE_07, Self::SIMPLE_08, Self::EIP7702_09];

    /// viem with an account.
    pub const fn viem(account: Account, entry_point: &'static str) -> Self {
        Self { client: Client::Viem, account, entry_point }
    }
}

/// Somebody.
#[derive(Debug)]
pub struct User {
    env: &'static Env,
    /// How the company calls the user.
    pub external_id: String,
    /// An operation of the user's that does nothing yet and that Stipend pays for.
    pub request: Request,
    /// Where the smart account is.
    pub address: Address,
    /// Its kind.
    pub wallet: Wallet,
}

/// An operation that went to the bundler.
#[derive(Debug, Clone)]
pub struct Sent {
    /// Its hash.
    pub hash: B256,
    /// Its JSON-RPC form.
    pub op: Value,
    /// The calls on the way, in order.
    pub wire: Vec<String>,
}

impl Env {
    /// Somebody whom nobody has linked to an account.
    pub async fn stranger(&'static self, name: &str, wallet: Wallet) -> User {
        let Wallet { client, account, entry_point } = wallet;
        let external_id = format!("{name}-{client:?}-{account:?}-{entry_point}").to_lowercase();
        let owner = keccak256(&external_id);
        let request = Request::new(&self.stack.chain, client, account, entry_point, owner)
            .paid_by(self.endpoints.paymaster_url.as_str());
        let located = self.driver.address(&request).await;
        let address = located.unwrap_or_else(|error| panic!("{error}")).address;
        User { env: self, external_id, request, address, wallet }
    }

    /// Somebody with an account of this name, the wallet linked to it, and so many points.
    pub async fn user_with(&'static self, points: &str, name: &str, wallet: Wallet) -> User {
        let user = self.stranger(name, wallet).await;
        let account = format!("v1/accounts/{}", user.external_id);
        self.api.put(&account).await.success();
        let link = format!("{account}/wallets/{}/{}", self.endpoints.chain_id, user.address);
        self.api.put(&link).await.success();
        user.is_credited(points, "welcome").await;
        user
    }

    /// Somebody with points enough for anything here.
    pub async fn user(&'static self, name: &str, wallet: Wallet) -> User {
        self.user_with("10000", name, wallet).await
    }
}

impl User {
    /// The EntryPoint of the user's smart account.
    pub fn entry_point(&self) -> Address {
        self.env.endpoints.entry_points[self.wallet.entry_point]
    }

    /// The parameters of an ERC-7677 call for an operation, as clients send them without a context of the dApp's.
    pub fn paymaster_params(&self, op: &Value) -> Value {
        json!([op, self.entry_point(), format!("{:#x}", self.env.endpoints.chain_id), null])
    }

    /// The body of `POST /v1/sponsorships` and `POST /v1/quotes` for an operation.
    pub fn sponsorship_body(&self, op: &Value) -> Value {
        let chain_id = self.env.endpoints.chain_id;
        json!({"chainId": chain_id, "entryPoint": self.entry_point(), "userOperation": op})
    }

    /// An operation with everything estimated, on a slot that nothing is reserved for.
    pub async fn estimates(&self) -> Value {
        on_next_key(&self.prepares(&self.increment()).await)
    }

    /// An operation that counts once.
    pub fn increment(&self) -> Request {
        self.increments(1)
    }

    /// An operation with so many calls, each of which counts.
    pub fn increments(&self, calls: usize) -> Request {
        let counter = self.env.stack.chain.counter;
        let call = ICounter::incrementCall {}.abi_encode();
        (0..calls).fold(self.request.clone(), |request, _| request.call(counter, call.clone()))
    }

    /// An operation that reverts while the flaky target is broken.
    pub fn poke(&self) -> Request {
        self.request.clone().call(self.env.stack.chain.flaky, IFlaky::pokeCall {}.abi_encode())
    }

    /// How often this user has counted.
    pub async fn count(&self) -> u64 {
        let query = ICounter::countOfCall { caller: self.address };
        let counted = self.env.stack.node().view(self.env.stack.chain.counter, &query).await;
        counted.unwrap().to()
    }

    /// The company gives the user points.
    pub async fn is_credited(&self, points: &str, reference: &str) {
        let path = format!("v1/accounts/{}/credits", self.external_id);
        let body = json!({"amount": points, "reason": "loyalty", "reference": reference});
        self.env.api.post_keyed(&path, reference, &body).await.success();
    }

    /// Estimates and sponsors an operation. The user has not signed it yet.
    pub async fn prepares(&self, request: &Request) -> Value {
        let prepared = self.env.driver.prepare(request).await;
        prepared.unwrap_or_else(|error| panic!("{}: {error}", self.external_id)).op
    }

    /// Signs a prepared operation and sends it.
    pub async fn signs_and_submits(&self, request: &Request, op: &Value) -> Sent {
        let signed = self.signs(request, op).await;
        let submitted = self.submits(request, &signed).await;
        let submitted = submitted.unwrap_or_else(|error| panic!("{}: {error}", self.external_id));
        Sent { hash: submitted.user_op_hash.unwrap(), op: signed, wire: submitted.wire }
    }

    /// Signs an operation.
    pub async fn signs(&self, request: &Request, op: &Value) -> Value {
        let signed = self.env.driver.sign(request, op).await;
        signed.unwrap_or_else(|error| panic!("{}: {error}", self.external_id)).op
    }

    /// Sends a signed operation as it is.
    ///
    /// # Errors
    /// When whoever is asked refuses.
    pub async fn submits(&self, request: &Request, op: &Value) -> Result<Operation, Error> {
        self.env.driver.submit(request, op).await
    }

    /// The whole flow of a dApp.
    pub async fn sends(&self, request: &Request) -> Sent {
        let sent = self.env.driver.send(request).await;
        let sent = sent.unwrap_or_else(|error| panic!("{}: {error}", self.external_id));
        Sent { hash: sent.user_op_hash.unwrap(), op: sent.op, wire: sent.wire }
    }

    /// The same, for an operation that must be refused.
    pub async fn is_refused(&self, request: &Request) -> Refusal {
        let refused = self.env.driver.prepare(request).await;
        refusal(refused.map(|prepared| prepared.op))
    }

    /// Waits for the bundler's receipt.
    pub async fn lands(&self, request: &Request, sent: &Sent) -> Receipt {
        let receipt = self.env.driver.wait(request, sent.hash).await;
        receipt.unwrap_or_else(|error| panic!("{}: {error}", self.external_id))
    }

    /// The account's columns.
    pub async fn balances(&self) -> Balances {
        self.env.ledger.account(&self.external_id).await.unwrap().balances
    }

    /// The account's sponsorships, oldest first.
    pub async fn reservations(&self) -> Vec<Reservation> {
        self.env.ledger.reservations(&self.external_id).await
    }

    /// The one sponsorship of the account.
    ///
    /// # Panics
    /// When there are more or fewer.
    pub async fn reservation(&self) -> Reservation {
        let mut found = self.reservations().await;
        assert_eq!(found.len(), 1, "{}: {found:#?}", self.external_id);
        found.remove(0)
    }

    /// Waits until the latest attempt on an operation's slot is in this state.
    pub async fn reaches(&self, state: &str, op: &Value) -> Reservation {
        let (nonce, what) = (nonce_of(op), format!("{} is {state}", self.external_id));
        wait::until(&what, SETTLE_SECONDS, async || {
            let found = self.reservations().await;
            match found.into_iter().rfind(|found| found.nonce == nonce) {
                Some(found) if found.state == state => Ok(found),
                Some(found) => Err(format!("it is {}", found.state)),
                None => Err("there is no reservation".to_owned()),
            }
        })
        .await
    }

    /// Waits until an operation is settled for good.
    pub async fn settles(&self, sent: &Sent) -> Reservation {
        let settled = self.reaches("settled_final", &sent.op).await;
        assert_eq!(settled.settlement.as_ref().unwrap().user_op_hash, sent.hash);
        settled
    }
}

/// Why a server refused, as the client library tells it.
#[derive(Debug, Clone)]
pub struct Refusal {
    /// The JSON-RPC code.
    pub code: Option<i64>,
    /// What the server said.
    pub details: String,
    /// The stable name in the error's data.
    pub reason: String,
}

/// The refusal in an answer of the driver.
///
/// # Panics
/// When it is none.
pub fn refusal(answer: Result<Value, Error>) -> Refusal {
    match answer {
        Err(Error::Client { code, details, data, .. }) => Refusal {
            code,
            details: details.unwrap_or_default(),
            reason: data
                .and_then(|data| data["reason"].as_str().map(str::to_owned))
                .unwrap_or_default(),
        },
        Err(other) => panic!("{other}"),
        Ok(answer) => panic!("it was not refused: {answer}"),
    }
}

/// An operation's nonce.
pub fn nonce_of(op: &Value) -> U256 {
    quantity(op, "nonce")
}

/// The same operation under the next nonce key, where nothing is reserved for it.
pub fn on_next_key(op: &Value) -> Value {
    let mut next = op.clone();
    let nonce = nonce_of(op) + (U256::from(1) << 64);
    next["nonce"] = json!(format!("{nonce:#x}"));
    next
}

/// A field of an operation that is a number; zero where it is absent.
pub fn quantity(op: &Value, field: &str) -> U256 {
    op[field].as_str().map(|text| text.parse().unwrap()).unwrap_or_default()
}

/// What an operation can cost at most, in wei
/// ([EIP-4337](https://eips.ethereum.org/EIPS/eip-4337)): all its gas at the highest fee.
pub fn max_cost_of(op: &Value) -> U256 {
    let gas = [
        "callGasLimit",
        "verificationGasLimit",
        "preVerificationGas",
        "paymasterVerificationGasLimit",
        "paymasterPostOpGasLimit",
    ];
    gas.iter().map(|field| quantity(op, field)).sum::<U256>() * quantity(op, "maxFeePerGas")
}

/// The driver's fees, so many percent higher.
pub fn fees_raised_by(percent: u64) -> Fees {
    let raised = |fee: u64| U256::from(fee + fee / 100 * percent);
    Fees { max_fee_per_gas: raised(FEES.0), max_priority_fee_per_gas: raised(FEES.1) }
}
