//! The router on real parts, and what can be asked of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::{Address, B256, U256, keccak256};
use api::{HttpSettings, router};
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Method, Request, StatusCode};
use chain::Finality;
use chain::bundler::Bundler;
use chain::node::Node;
use devstack::anvil::{self, Anvil};
use devstack::postgres::{TestDatabase, test_database};
use devstack::{Run, Tools, keys};
use domain::bounds::Bounds;
use domain::chain_fact::{BlockRef, ChainTime};
use domain::ledger::sponsorship::GrantRequest;
use domain::quote::Bps;
use domain::seal::Sealed;
use domain::{
    AppId, ChainId, FeePerGas, Gas, KeyId, Points, Quote, ReservationId, Slot, TenantId, Wei,
};
use erc4337::EntryPointVersion;
use erc4337::gas::CalldataPrice;
use erc4337::sponsorship::SignatureForm;
use erc4337::user_operation::PaymasterSignatureField;
use serde_json::{Value, json};
use service::chains::{Chain, Paymaster};
use service::identity::key_hash;
use service::{Development, FixedPrice, Service, Settings};
use signer::{Secret, SignerSource};
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use store::sponsorships::{GrantAnswer, GrantCommand, PaymasterGas};
use store::tenants::{KeyKind, NewKey};
use store::{Keyed, Store};
use tokio::sync::OnceCell;
use tower::ServiceExt;
use url::Url;
use uuid::Uuid;

pub(crate) const CHAIN: u64 = 31_337;
/// A chain whose reading nobody has begun.
pub(crate) const UNREAD_CHAIN: u64 = 4_242;
pub(crate) const PAYMASTER: Address = Address::repeat_byte(0x9a);
pub(crate) const SECRET: &str = "sk_test_0123456789abcdef0123456789abcdef";
pub(crate) const PUBLISHABLE: &str = "pk_test_0123456789abcdef0123456789abcdef";
/// A publishable key of the kind that only the development stack has.
pub(crate) const DEV_KEY: &str = "pk_dev_0123456789abcdef0123456789abcdef";
/// Another company's key.
pub(crate) const NEIGHBOUR: &str = "sk_test_fedcba9876543210fedcba9876543210";
pub(crate) const WALLET: Address = Address::repeat_byte(0x11);
/// The end of every grant's window that the tests make themselves.
pub(crate) const VALID_UNTIL: u64 = 10_180;
/// Longer than any answer takes on a busy machine.
const DEADLINE: Duration = Duration::from_secs(20);
const MAX_ANSWER: usize = 4 << 20;

pub(crate) fn entry_point() -> Address {
    EntryPointVersion::V08.canonical_address()
}

/// Two companies behind one door.
pub(crate) struct House {
    pub(crate) router: Router,
    pub(crate) service: Arc<Service>,
    pub(crate) tenant: TenantId,
    app: AppId,
    pub(crate) db: TestDatabase,
}

/// What came back.
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Reply {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("no JSON: {}", self.text))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// Checks that this is a problem of this status and code, in the form that every problem has.
    pub(crate) fn assert_problem(&self, status: u16, code: &str, what: &str) {
        assert_eq!(self.status.as_u16(), status, "{what}: {}", self.text);
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{what}");
        let body = self.json();
        assert_eq!(body["code"], code, "{what}: {}", self.text);
        assert_eq!(body["status"], status, "{what}");
        assert_eq!(body["type"], format!("/docs/errors#{code}"), "{what}");
        assert!(body["retryable"].is_boolean(), "{what}");
        assert!(!body["title"].as_str().unwrap().is_empty(), "{what}");
        assert!(!body["detail"].as_str().unwrap().is_empty(), "{what}");
        assert_eq!(body["requestId"].as_str(), self.header("x-request-id"), "{what}");
    }
}

impl House {
    pub(crate) async fn new() -> Self {
        Self::with(HttpSettings { request_timeout: DEADLINE, ..HttpSettings::default() }).await
    }

    pub(crate) async fn with(http: HttpSettings) -> Self {
        Self::on(&[(CHAIN, node().await)], http).await
    }

    /// Chains with their nodes; each node stands in for the chain's bundler, as one that knows no bundler's method.
    pub(crate) async fn on(chains: &[(u64, Url)], http: HttpSettings) -> Self {
        let development = Some(Development { auto_provision: None });
        Self::built(chains, http, Settings { development, ..settings() }).await
    }

    /// The same as a company runs it for its users.
    pub(crate) async fn in_production() -> Self {
        Self::built(&[(CHAIN, node().await)], HttpSettings::default(), settings()).await
    }

    async fn built(chains: &[(u64, Url)], http: HttpSettings, settings: Settings) -> Self {
        let db = test_database(async |owner_url| store::migrate(&owner_url).await.unwrap());
        let db = db.await.unwrap();
        let store = Store::connect_lazy(&db.runtime_url, 8).unwrap();
        let tenant = store.ensure_tenant("acme").await.unwrap();
        let app = store.ensure_app(tenant, "shop").await.unwrap();
        let neighbour = store.ensure_tenant("neighbour").await.unwrap();
        let their_app = store.ensure_app(neighbour, "shop").await.unwrap();
        for (owner, app, key, kind, any) in [
            (tenant, app, SECRET, KeyKind::Secret, false),
            (tenant, app, PUBLISHABLE, KeyKind::Publishable, false),
            (tenant, app, DEV_KEY, KeyKind::Publishable, true),
            (neighbour, their_app, NEIGHBOUR, KeyKind::Secret, false),
        ] {
            let key = NewKey {
                key_id: KeyId(Uuid::now_v7()),
                app,
                kind,
                hash: key_hash(key),
                prefix: key[..8].to_owned(),
                reserves_any_account: any,
            };
            store.add_key(owner, &key).await.unwrap();
        }
        let served = chains.iter().map(|(id, url)| served(*id, url, tenant)).collect();
        for (id, _) in chains {
            let paymaster = store::paymasters::Paymaster {
                chain: ChainId(*id),
                address: PAYMASTER,
                tenant,
                entry_point: entry_point(),
            };
            store.register_paymaster(&paymaster).await.unwrap();
        }
        let service = Arc::new(Service::new(store, served, settings));
        for (id, _) in chains.iter().filter(|(id, _)| *id != UNREAD_CHAIN) {
            let anchor = anchor();
            let started = service.store().start_cursor(ChainId(*id), &anchor, B256::ZERO);
            started.await.unwrap();
        }
        let router = router(Arc::clone(&service), http);
        Self { router, service, tenant, app, db }
    }

    /// Sends a request as it is.
    pub(crate) async fn send(&self, request: Request<Body>) -> Reply {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = to_bytes(body, MAX_ANSWER).await.unwrap();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        Reply { status: parts.status, headers: parts.headers, text }
    }

    /// Sends a request with the company's secret key, and with an `Idempotency-Key` where one is given.
    pub(crate) async fn ask(
        &self,
        method: Method,
        path: &str,
        key: Option<&str>,
        body: impl Into<Body>,
    ) -> Reply {
        let mut request = Request::builder().method(method).uri(path);
        request = request.header("authorization", format!("Bearer {SECRET}"));
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        self.send(request.body(body.into()).unwrap()).await
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.ask(Method::GET, path, None, Body::empty()).await
    }

    pub(crate) async fn put(&self, path: &str) -> Reply {
        self.ask(Method::PUT, path, None, Body::empty()).await
    }

    pub(crate) async fn post(&self, path: &str, key: &str, body: &Value) -> Reply {
        self.ask(Method::POST, path, Some(key), body.to_string()).await
    }

    /// Calls JSON-RPC under a key in the path.
    pub(crate) async fn rpc(&self, key: &str, body: &str) -> Reply {
        let request =
            Request::post(format!("/rpc/{key}")).header("content-type", "application/json");
        self.send(request.body(body.to_owned().into()).unwrap()).await
    }

    /// One call, and its answer.
    pub(crate) async fn call(&self, key: &str, method: &str, params: Value) -> Value {
        let call = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let reply = self.rpc(key, &call.to_string()).await;
        assert_eq!(reply.status, StatusCode::OK, "{}", reply.text);
        reply.json()
    }

    /// An account with points and [`WALLET`] linked to it.
    pub(crate) async fn user(&self, name: &str, points: &str) {
        assert_eq!(self.put(&format!("/v1/accounts/{name}")).await.status, StatusCode::OK);
        let wallet = format!("/v1/accounts/{name}/wallets/{CHAIN}/{WALLET}");
        assert_eq!(self.put(&wallet).await.status, StatusCode::OK);
        let credit = json!({ "amount": points, "reason": "opening", "reference": "opening" });
        let path = format!("/v1/accounts/{name}/credits");
        assert_eq!(self.post(&path, "opening", &credit).await.status, StatusCode::CREATED);
    }

    /// A sponsorship of the user's wallet, put under the ledger's own hand.
    pub(crate) async fn sponsorship(&self, name: &str, nonce: u64) -> ReservationId {
        self.keyed_sponsorship(name, nonce, None).await
    }

    /// The same for a request that came with a key.
    pub(crate) async fn keyed_sponsorship(
        &self,
        name: &str,
        nonce: u64,
        keyed: Option<Keyed>,
    ) -> ReservationId {
        let store = self.service.store();
        let account =
            store.account_by_name(self.tenant, &name.parse().unwrap()).await.unwrap().unwrap();
        let digest = keccak256(nonce.to_be_bytes());
        let signature = Sealed::new([7; 64]);
        let command = GrantCommand {
            tenant: self.tenant,
            account,
            app: self.app,
            slot: Slot {
                chain_id: ChainId(CHAIN),
                entry_point: entry_point(),
                sender: WALLET,
                nonce: U256::from(nonce),
            },
            paymaster: PAYMASTER,
            request: GrantRequest {
                request_hash: digest,
                max_cost: Wei(U256::from(1_000_000)),
                quote: Quote {
                    micropoints_per_e18_wei: 1_000_000_000_000_000_000,
                    markup: Bps(0),
                    source: "fixed".to_owned(),
                    block_number: 1,
                },
                valid_until: ChainTime(VALID_UNTIL),
                head: ChainTime(10_000),
                debt_ceiling: Points::ZERO,
            },
            form: SignatureForm::Sequential,
            digest,
            signature,
            user_op_hash: B256::repeat_byte(3),
            paymaster_gas: PaymasterGas { verification: Gas(45_000), post_op: Gas(0) },
            delegate: None,
            keyed,
        };
        let answer = store.grant(command).await.unwrap();
        let GrantAnswer::Granted(grant) = answer else { panic!("{answer:?}") };
        grant.reservation
    }

    /// A connection that may do anything.
    pub(crate) async fn superuser(&self) -> PgConnection {
        PgConnection::connect(&self.db.superuser_url).await.unwrap()
    }

    /// Statements of the database's owner, and more than that.
    pub(crate) async fn sql(&self, sql: &str) {
        let sql = AssertSqlSafe(sql.to_owned());
        sqlx::raw_sql(sql).execute(&mut self.superuser().await).await.unwrap();
    }

    /// For another process on the same database.
    pub(crate) fn runtime_url(&self) -> &str {
        &self.db.runtime_url
    }

    /// How many rows each table has.
    pub(crate) async fn rows(&self) -> BTreeMap<String, i64> {
        let mut superuser = self.superuser().await;
        let tables: Vec<String> = sqlx::query_scalar(
            "SELECT table_name::text FROM information_schema.tables
            WHERE table_schema = 'public' AND table_type = 'BASE TABLE'",
        )
        .fetch_all(&mut superuser)
        .await
        .unwrap();
        let mut rows = BTreeMap::new();
        for table in tables {
            let sql = AssertSqlSafe(format!("SELECT count(*) FROM {table}"));
            rows.insert(table, sqlx::query_scalar(sql).fetch_one(&mut superuser).await.unwrap());
        }
        rows
    }
}

/// Where the reading of every chain has begun.
pub(crate) fn anchor() -> BlockRef {
    BlockRef { number: 0, hash: B256::repeat_byte(0xa0), timestamp: ChainTime(1) }
}

/// The node of this test process.
pub(crate) async fn node() -> Url {
    static ANVIL: OnceCell<Anvil> = OnceCell::const_new();
    let anvil = ANVIL.get_or_init(async || {
        let tools = tokio::task::spawn_blocking(|| Tools::ensure(&|_| ())).await.unwrap().unwrap();
        let options = anvil::Options {
            chain_id: CHAIN,
            slots_in_an_epoch: 1,
            block_time_seconds: 1,
            port: None,
            log: Run::begin(&tools).unwrap().log("anvil"),
        };
        Anvil::start(&tools, &options).await.unwrap()
    });
    anvil.await.node().url().clone()
}

fn served(id: u64, url: &Url, tenant: TenantId) -> Chain {
    let urls = [url.clone()];
    let key = Secret::new(keys::SIGNER_KEY.to_string());
    Chain {
        id: ChainId(id),
        node: Node::connect(&urls, DEADLINE).unwrap(),
        bundler: Bundler::connect(&urls, DEADLINE, PaymasterSignatureField::Apart).unwrap(),
        finality: Finality::Finalized,
        final_quorum: 1,
        start_block: 0,
        calldata_price: CalldataPrice::Eip7623,
        price: FixedPrice { micropoints_per_e18_wei: 1_000_000_000_000, markup: Bps(0) },
        delegates: BTreeSet::new(),
        paymasters: vec![Paymaster {
            address: PAYMASTER,
            tenant,
            entry_point: entry_point(),
            version: EntryPointVersion::V08,
            signers: vec![Arc::new(SignerSource::Key(key).load().unwrap())],
        }],
    }
}

pub(crate) fn settings() -> Settings {
    Settings {
        validity_seconds: 180,
        stale_head_seconds: 60,
        debt_ceiling: Points::ZERO,
        bounds: Bounds {
            pre_verification_gas: Bps(20_000),
            gas_limits: Bps(20_000),
            call_gas_floor: Gas(60_000),
            priority_fee: Bps(20_000),
            priority_fee_floor: FeePerGas(2_000_000_000),
            paymaster_verification_gas_cap: Gas(100_000),
        },
        development: None,
    }
}

/// An operation of [`WALLET`] as a client sends it once gas is estimated.
pub(crate) fn operation() -> Value {
    json!({
        "sender": WALLET,
        "nonce": "0x1",
        "callData": "0xb61d27f6",
        "callGasLimit": "0x186a0",
        "verificationGasLimit": "0x186a0",
        "preVerificationGas": "0xc350",
        "maxFeePerGas": "0xee6b2800",
        "maxPriorityFeePerGas": "0x3b9aca00",
        "signature": "0xff",
    })
}

/// The same with one field changed; null takes it away.
pub(crate) fn operation_with(field: &str, value: Value) -> Value {
    let mut operation = operation();
    operation[field] = value;
    operation
}

/// The body of a quote or sponsorship.
pub(crate) fn terms(operation: &Value) -> Value {
    json!({ "chainId": CHAIN, "entryPoint": entry_point(), "userOperation": operation })
}

/// Sum of points in words, for readers of tests.
pub(crate) fn points(text: &str) -> Points {
    text.parse().unwrap()
}
