//! `stipend admin`: companies, applications and keys, which are in the database; paymasters, which are on a chain.

mod chain;
mod ledger;
pub(crate) mod paymaster;
mod points;

use clap::{Subcommand, ValueEnum};
use domain::ledger::buckets::ExpiredRefund;
use domain::{KeyId, TenantId};
use rand::RngCore;
use service::identity::key_hash;
use store::Store;
use store::tenants::{KeyKind, NewKey};
use uuid::Uuid;

use crate::config::{Config, Environment};
use crate::wiring;

/// What to administer.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Admin {
    #[command(flatten)]
    House(House),
    /// Paymasters on their chains. Only `rotate` needs the database.
    #[command(subcommand)]
    Paymaster(Box<paymaster::Paymaster>),
}

/// What the database knows.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum House {
    /// Companies.
    #[command(subcommand)]
    Tenant(TenantCommand),
    /// Applications of a company.
    #[command(subcommand)]
    App(AppCommand),
    /// API keys of an application.
    #[command(subcommand)]
    Key(KeyCommand),
    /// The journal, held against itself and against what was kept outside.
    #[command(subcommand)]
    Ledger(ledger::LedgerCommand),
    /// Chains that are halted, and the way on.
    #[command(subcommand)]
    Chain(chain::ChainCommand),
    /// Points that users already have.
    #[command(subcommand)]
    Points(points::PointsCommand),
}

/// Companies.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum TenantCommand {
    /// Make a company, or find it: prints its id.
    Create {
        /// Its name, as paymasters in the configuration refer to it.
        name: String,
    },
    /// Show a company and its rules.
    Show {
        /// Its name.
        name: String,
    },
    /// Change a company's rules, for whatever happens from now on.
    Set {
        /// Its name.
        name: String,
        /// What becomes of points that return to a bucket which has expired meanwhile.
        #[arg(long, value_enum)]
        expired_refund: Rule,
    },
}

/// What becomes of points that return to a bucket which has expired meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Rule {
    /// They stay the user's, without an expiry.
    Keep,
    /// They expire at once.
    Forfeit,
}

/// Applications.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum AppCommand {
    /// Make an application, or find it: prints its id.
    Create {
        /// The company's name.
        #[arg(long)]
        tenant: String,
        /// The application's name.
        name: String,
    },
}

/// API keys.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// Make a key: prints it, once. Only its hash is kept.
    Create {
        /// The company's name.
        #[arg(long)]
        tenant: String,
        /// The application's name.
        #[arg(long)]
        app: String,
        /// What the key may do.
        #[arg(long, value_enum)]
        kind: Kind,
        /// Development only: let a publishable key reserve any account's points.
        #[arg(long)]
        reserves_any_account: bool,
    },
    /// Revoke a key, at once and for ever.
    Revoke {
        /// The key's id, as `create` printed it.
        id: KeyId,
    },
}

/// What a key may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// Kept by the company's servers: everything of its tenant.
    Secret,
    /// Shipped in dApps and wallets: no proof of any user.
    Publishable,
}

/// An order that is not carried out.
#[derive(Debug, thiserror::Error)]
enum AdminError {
    #[error("there is no tenant {0}: make it with `stipend admin tenant create`")]
    NoTenant(String),
    #[error("there is no live key {0}")]
    NoKey(KeyId),
    #[error("--reserves-any-account needs environment = \"development\" and --kind publishable")]
    NotInProduction,
}

pub(crate) async fn run(config: &Config, house: House) -> Result<(), crate::Failure> {
    let store = wiring::store(config)?;
    match house {
        House::Tenant(TenantCommand::Create { name }) => {
            println!("{}", store.ensure_tenant(&name).await?);
        }
        House::Tenant(TenantCommand::Show { name }) => show_tenant(&store, name).await?,
        House::Tenant(TenantCommand::Set { name, expired_refund }) => {
            let tenant = named(&store, name.clone()).await?;
            let rule = match expired_refund {
                Rule::Keep => ExpiredRefund::Keep,
                Rule::Forfeit => ExpiredRefund::Forfeit,
            };
            store.set_expired_refund(tenant, rule).await?;
            show_tenant(&store, name).await?;
        }
        House::App(AppCommand::Create { tenant, name }) => {
            let tenant = named(&store, tenant).await?;
            println!("{}", store.ensure_app(tenant, &name).await?);
        }
        House::Key(KeyCommand::Create { tenant, app, kind, reserves_any_account }) => {
            let development = config.environment == Environment::Development;
            if reserves_any_account && (!development || kind != Kind::Publishable) {
                return Err(AdminError::NotInProduction.into());
            }
            let tenant = named(&store, tenant).await?;
            create_key(&store, tenant, &app, kind, reserves_any_account).await?;
        }
        House::Key(KeyCommand::Revoke { id }) => {
            if !store.revoke_key(id).await? {
                return Err(AdminError::NoKey(id).into());
            }
            println!("revoked");
        }
        House::Ledger(command) => ledger::run(config, &store, command).await?,
        House::Chain(command) => chain::run(config, command).await?,
        House::Points(points::PointsCommand::Import(order)) => {
            let tenant = named(&store, order.tenant.clone()).await?;
            points::import(&store, tenant, &order).await?;
        }
    }
    store.close().await;
    Ok(())
}

async fn show_tenant(store: &Store, name: String) -> Result<(), crate::Failure> {
    let tenant = named(store, name.clone()).await?;
    let rule = store.expired_refund(tenant).await?.unwrap_or_default();
    println!("name: {name}");
    println!("id: {tenant}");
    println!("expired refund: {}", rule.as_str());
    Ok(())
}

async fn named(store: &Store, name: String) -> Result<TenantId, crate::Failure> {
    let tenant = store.tenant_by_name(&name).await?;
    Ok(tenant.ok_or(AdminError::NoTenant(name))?)
}

/// Prints the id to standard error and the key alone to standard output, so that a script can take it.
async fn create_key(
    store: &Store,
    tenant: TenantId,
    app: &str,
    kind: Kind,
    reserves_any_account: bool,
) -> Result<(), crate::Failure> {
    let app = store.ensure_app(tenant, app).await?;
    let mut random = [0; 32];
    rand::rng().fill_bytes(&mut random);
    let (kind, start) = match kind {
        Kind::Secret => (KeyKind::Secret, "sk_"),
        Kind::Publishable => (KeyKind::Publishable, "pk_"),
    };
    let key = format!("{start}{}", hex::encode(random));
    let new = NewKey {
        key_id: KeyId(Uuid::now_v7()),
        app,
        kind,
        hash: key_hash(&key),
        prefix: key.chars().take(10).collect(),
        reserves_any_account,
    };
    store.add_key(tenant, &new).await?;
    eprintln!("key {} ({}): it is shown this once", new.key_id, kind.as_str());
    println!("{key}");
    Ok(())
}
