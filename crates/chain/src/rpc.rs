//! JSON-RPC 2.0 over HTTP, to the first of several endpoints that answers.
//!
//! One deadline holds for the whole call. Each endpoint gets an equal share of what is left of it, so that one that
//! hangs leaves time for the next. They are asked in the order of preference, but those behind that failed several times
//! in a row (`breaker`).

mod breaker;
mod endpoint;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::future::{join_all, try_join_all};
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::time::{Instant, timeout};
use url::Url;

use crate::{ConnectError, RpcError};
use endpoint::{Endpoint, Failure};

/// Whether a request may reach two endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Delivery {
    /// It reads, so it can be repeated.
    Repeatable,
    /// It acts, so only an endpoint that surely did not take it lets the next one have it.
    Once,
}

/// One method call.
pub(crate) struct Request<'a> {
    pub(crate) method: &'a str,
    pub(crate) params: Value,
}

/// What an endpoint answered: the result, or its refusal as [`RpcError::Rpc`].
pub(crate) type Reply = Result<Box<RawValue>, RpcError>;

/// An answer that was understood, and is none.
pub(crate) trait Doubt: From<RpcError> {
    /// Whether another endpoint may know better: this one lags, or says what cannot be.
    fn may_another_know(&self) -> bool;
}

impl Doubt for RpcError {
    fn may_another_know(&self) -> bool {
        matches!(self, Self::Malformed { .. })
    }
}

/// Several endpoints that serve the same chain, in order of preference.
#[derive(Debug)]
pub(crate) struct RpcClient {
    endpoints: Vec<Endpoint>,
    deadline: Duration,
    next_id: AtomicU64,
}

impl RpcClient {
    /// Makes no request. `deadline` is for a whole call, over all endpoints.
    pub(crate) fn new(urls: &[Url], deadline: Duration) -> Result<Self, ConnectError> {
        if urls.is_empty() {
            return Err(ConnectError::NoUrl);
        }
        let endpoints = urls
            .iter()
            .zip(1..)
            .map(|(url, position)| Endpoint::new(url, position))
            .collect::<Result<_, _>>()?;
        Ok(Self { endpoints, deadline, next_id: AtomicU64::new(1) })
    }

    /// Asks one thing that can be repeated, and reads the result as `T`.
    pub(crate) async fn ask<T: DeserializeOwned>(
        &self,
        method: &str,
        params: Value,
    ) -> Result<T, RpcError> {
        self.send(Delivery::Repeatable, Request { method, params }).await
    }

    /// Sends one request, and reads the result as `T`.
    pub(crate) async fn send<T: DeserializeOwned>(
        &self,
        delivery: Delivery,
        request: Request<'_>,
    ) -> Result<T, RpcError> {
        let method = request.method;
        let read = |[reply]: [Reply; 1]| read_result(method, &reply?);
        self.send_together(delivery, &[request], read).await
    }

    /// Sends several requests at once to one endpoint: the first that answers them all, and whose answers `read` does not
    /// doubt.
    pub(crate) async fn send_together<const N: usize, T, E: Doubt>(
        &self,
        delivery: Delivery,
        requests: &[Request<'_>; N],
        read: impl Fn([Reply; N]) -> Result<T, E>,
    ) -> Result<T, E> {
        let end = Instant::now() + self.deadline;
        let mut last = E::from(RpcError::malformed("no endpoint was asked"));
        let mut doubted: Vec<&Endpoint> = Vec::new();
        for (endpoint, left) in self.in_order().into_iter().zip((1..=self.endpoints.len()).rev()) {
            if !doubted.is_empty() && endpoint.breaker.is_open() {
                // There is an answer already, if not the best.
                break;
            }
            let left = u32::try_from(left).unwrap_or(u32::MAX);
            let share = end.saturating_duration_since(Instant::now()) / left;
            match self.exchange(endpoint, requests, share).await {
                Ok(replies) => match read(replies) {
                    Err(doubt) if doubt.may_another_know() && delivery == Delivery::Repeatable => {
                        doubted.push(endpoint);
                        last = doubt;
                    }
                    answer => {
                        endpoint.breaker.close();
                        doubted.into_iter().for_each(Endpoint::failed);
                        return answer;
                    }
                },
                Err(failure) => {
                    endpoint.failed();
                    let error = match (failure, delivery) {
                        (Failure::Uncertain(error), Delivery::Once) => return Err(error.into()),
                        (Failure::Uncertain(error), Delivery::Repeatable)
                        | (Failure::NotTaken(error), _) => error,
                    };
                    if left > 1 {
                        tracing::warn!(host = endpoint.host, %error, "RPC endpoint failed, trying the next");
                    }
                    // What an endpoint said counts for more than that another one said nothing.
                    if doubted.is_empty() {
                        last = error.into();
                    }
                }
            }
        }
        Err(last)
    }

    /// Asks all endpoints the same things at once: what each says, in no order. Those that failed several times in a row are
    /// left out, as long as `enough` others are there.
    pub(crate) async fn ask_all<const N: usize>(
        &self,
        requests: &[Request<'_>; N],
        enough: usize,
    ) -> Vec<[Reply; N]> {
        let order = self.in_order();
        let closed = order.iter().filter(|endpoint| !endpoint.breaker.is_open()).count();
        let asked = order.into_iter().take(closed.max(enough));
        let answers = asked.map(async |endpoint| {
            match self.exchange(endpoint, requests, self.deadline).await {
                Ok(replies) => Some(replies),
                Err(Failure::NotTaken(error) | Failure::Uncertain(error)) => {
                    tracing::warn!(host = endpoint.host, %error, "RPC endpoint failed");
                    endpoint.failed();
                    None
                }
            }
        });
        join_all(answers).await.into_iter().flatten().collect()
    }

    /// How many endpoints there are.
    pub(crate) const fn endpoints(&self) -> usize {
        self.endpoints.len()
    }

    fn in_order(&self) -> Vec<&Endpoint> {
        let (open, closed): (Vec<_>, Vec<_>) =
            self.endpoints.iter().partition(|endpoint| endpoint.breaker.is_open());
        [closed, open].concat()
    }

    async fn exchange<const N: usize>(
        &self,
        endpoint: &Endpoint,
        requests: &[Request<'_>; N],
        share: Duration,
    ) -> Result<[Reply; N], Failure> {
        let answers = try_join_all(requests.iter().map(|request| {
            let id = self.next_id.fetch_add(1, Ordering::Relaxed);
            endpoint.exchange(id, request)
        }));
        let replies = timeout(share, answers).await.unwrap_or_else(|_elapsed| {
            Err(Failure::Uncertain(RpcError::TimedOut { host: endpoint.host.clone() }))
        })?;
        let few = |_| Failure::Uncertain(RpcError::malformed("fewer answers than questions"));
        replies.try_into().map_err(few)
    }
}

/// Reads the result of one method.
pub(crate) fn read_result<T: DeserializeOwned>(
    method: &str,
    result: &RawValue,
) -> Result<T, RpcError> {
    serde_json::from_str(result.get())
        .map_err(|error| RpcError::malformed(format!("the result of {method}: {error}")))
}
