//! From the configuration to the running parts.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::Address;
use chain::ConnectError;
use chain::bundler::Bundler;
use chain::node::Node;
use domain::quote::Bps;
use domain::{ChainId, FeePerGas, Gas};
use erc4337::gas::CalldataPrice;
use service::chains::{Chain, Paymaster};
use service::{Development, FixedPrice, Service, Settings};
use signer::{LoadError, LocalSigner, Secret, SignerSource};
use store::{Store, StoreError};

use crate::config::{self, Config, Environment};

/// A part that cannot be put in place.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WiringError {
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A signer.
    #[error("signers.{name} cannot be loaded")]
    Signer {
        /// The signer's name.
        name: String,
        /// Why.
        #[source]
        cause: LoadError,
    },
    /// A password file.
    #[error("signers.{name}.password_file {} cannot be read", path.display())]
    Password {
        /// The signer's name.
        name: String,
        /// The file.
        path: std::path::PathBuf,
        /// Why.
        #[source]
        cause: std::io::Error,
    },
    /// A chain's URLs.
    #[error("chain {chain}: URLs cannot be used")]
    Urls {
        /// The chain.
        chain: u64,
        /// Why.
        #[source]
        cause: ConnectError,
    },
    /// A signer whose source the configuration check would have refused.
    #[error("signers.{0} has no source")]
    NoSource(String),
    /// A price that the configuration check would have found missing.
    #[error("there is no [pricing.{0}]")]
    NoPrice(u64),
    /// A company that nobody made.
    #[error("there is no tenant {0}: make it with `stipend admin tenant create {0}`")]
    NoTenant(String),
    /// A paymaster that was registered otherwise before.
    #[error(
        "paymaster {0} is registered for another tenant or EntryPoint; a deployed paymaster never changes either"
    )]
    PaymasterMoved(Address),
}

/// Signing keys by their names in the configuration.
pub(crate) type Signers = BTreeMap<String, Arc<LocalSigner>>;

/// The database, as the runtime role.
pub(crate) fn store(config: &Config) -> Result<Store, StoreError> {
    Store::connect_lazy(&config.database.url, config.database.max_connections)
}

/// The service with all its parts; the paymasters of the configuration are registered. `signers` are
/// those of a process that signs, and empty in one that does not.
pub(crate) async fn service(
    config: &Config,
    signers: &Signers,
) -> Result<Arc<Service>, WiringError> {
    let store = store(config)?;
    store.check().await?;
    let mut chains = Vec::with_capacity(config.chains.len());
    for chain in &config.chains {
        let price = config.pricing.get(&chain.id.to_string());
        let price = price.ok_or(WiringError::NoPrice(chain.id))?;
        let price = FixedPrice {
            micropoints_per_e18_wei: price.points_per_e18_wei.0.micropoints(),
            markup: Bps(price.markup_bps),
        };
        chains.push(self::chain(&store, chain, price, signers).await?);
    }
    let bounds = &config.bounds;
    let settings = Settings {
        validity_seconds: config.sponsorship.validity_seconds,
        stale_head_seconds: config.sponsorship.stale_head_seconds,
        debt_ceiling: config.sponsorship.debt_ceiling.0,
        bounds: domain::bounds::Bounds {
            pre_verification_gas: Bps(bounds.pre_verification_gas_bps),
            gas_limits: Bps(bounds.gas_limits_bps),
            call_gas_floor: Gas(bounds.call_gas_floor.into()),
            priority_fee: Bps(bounds.priority_fee_bps),
            priority_fee_floor: FeePerGas(bounds.priority_fee_floor_wei.into()),
            paymaster_verification_gas_cap: Gas(bounds.paymaster_verification_gas_cap.into()),
        },
        development: (config.environment == Environment::Development).then(|| Development {
            auto_provision: config.dev.auto_provision.map(|amount| amount.0),
        }),
    };
    Ok(Arc::new(Service::new(store, chains, settings)))
}

/// A chain's node and bundler.
pub(crate) fn connect(chain: &config::Chain) -> Result<(Node, Bundler), WiringError> {
    let deadline = Duration::from_millis(chain.rpc_deadline_millis);
    let urls = |cause| WiringError::Urls { chain: chain.id, cause };
    let node = Node::connect(&chain.rpc_urls, deadline).map_err(urls)?;
    let bundler = Bundler::connect(&chain.bundler_urls, deadline, chain.paymaster_signature.into())
        .map_err(urls)?;
    Ok((node, bundler))
}

async fn chain(
    store: &Store,
    chain: &config::Chain,
    price: FixedPrice,
    signers: &Signers,
) -> Result<Chain, WiringError> {
    let (node, bundler) = connect(chain)?;
    let id = ChainId(chain.id);
    let mut paymasters = Vec::with_capacity(chain.paymasters.len());
    for configured in &chain.paymasters {
        paymasters.push(paymaster(store, id, configured, signers).await?);
    }
    Ok(Chain {
        id,
        node,
        bundler,
        finality: chain.finality,
        final_quorum: chain.final_quorum(),
        price,
        start_block: chain.start_block,
        calldata_price: if chain.eip7623 { CalldataPrice::Eip7623 } else { CalldataPrice::Eip2028 },
        delegates: chain.delegates.clone(),
        paymasters,
    })
}

async fn paymaster(
    store: &Store,
    chain: ChainId,
    configured: &config::Paymaster,
    signers: &Signers,
) -> Result<Paymaster, WiringError> {
    let tenant = store.tenant_by_name(&configured.tenant).await?;
    let tenant = tenant.ok_or_else(|| WiringError::NoTenant(configured.tenant.clone()))?;
    let wanted = store::paymasters::Paymaster {
        chain,
        address: configured.address,
        tenant,
        entry_point: configured.entry_point(),
    };
    if store.register_paymaster(&wanted).await? != wanted {
        return Err(WiringError::PaymasterMoved(configured.address));
    }
    Ok(Paymaster {
        address: configured.address,
        tenant,
        entry_point: configured.entry_point(),
        version: configured.version,
        signers: configured
            .signers
            .iter()
            .filter_map(|name| signers.get(name).map(Arc::clone))
            .collect(),
    })
}

/// Loads every signer. A keystore takes about a second, once.
pub(crate) fn signers(config: &Config) -> Result<Signers, WiringError> {
    let names = config.signers.keys();
    names.map(|name| Ok((name.clone(), Arc::new(signer(config, name)?)))).collect()
}

/// Loads one signer.
pub(crate) fn signer(config: &Config, name: &str) -> Result<LocalSigner, WiringError> {
    let configured = config.signers.get(name);
    let configured = configured.ok_or_else(|| WiringError::NoSource(name.to_owned()))?;
    let loaded = source(name, configured)?.load();
    loaded.map_err(|cause| WiringError::Signer { name: name.to_owned(), cause })
}

fn source(name: &str, signer: &config::Signer) -> Result<SignerSource, WiringError> {
    match (&signer.keystore, &signer.password_file, &signer.key_file, &signer.key) {
        (Some(path), Some(password_file), None, None) => Ok(SignerSource::Keystore {
            path: path.clone(),
            password: password(name, password_file)?,
        }),
        (None, None, Some(path), None) => Ok(SignerSource::KeyFile { path: path.clone() }),
        (None, None, None, Some(key)) => Ok(SignerSource::Key(Secret::new(key.clone()))),
        _ => Err(WiringError::NoSource(name.to_owned())),
    }
}

fn password(name: &str, path: &Path) -> Result<Secret, WiringError> {
    let text = std::fs::read_to_string(path).map_err(|cause| WiringError::Password {
        name: name.to_owned(),
        path: path.to_owned(),
        cause,
    })?;
    Ok(Secret::new(text.trim_end_matches(['\r', '\n']).to_owned()))
}
