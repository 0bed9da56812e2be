//! The company's backend, as far as the demo needs it: Stipend's REST API.

use std::time::{Duration, Instant};

use alloy::primitives::Address;
use devstack::service::Endpoints;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use url::Url;

use crate::Failure;

/// The API with the company's secret key.
pub(super) struct Api {
    http: reqwest::Client,
    url: Url,
    secret_key: String,
}

/// A sponsorship whose block is final.
pub(super) struct Done {
    pub(super) cost: String,
    pub(super) gas_cost: String,
}

impl Api {
    pub(super) fn new(endpoints: &Endpoints) -> Self {
        Self {
            http: reqwest::Client::new(),
            url: endpoints.api_url.clone(),
            secret_key: endpoints.secret_key.clone(),
        }
    }

    fn request(&self, method: Method, path: &str) -> Result<RequestBuilder, Failure> {
        Ok(self.http.request(method, self.url.join(path)?).bearer_auth(&self.secret_key))
    }

    /// Creates what the path names.
    pub(super) async fn put(&self, path: &str) -> Result<(), Failure> {
        answer(self.request(Method::PUT, path)?).await.map(drop)
    }

    /// Gives a user points.
    pub(super) async fn credit(&self, user: &str, amount: &str) -> Result<(), Failure> {
        let body = json!({ "amount": amount, "reason": "welcome", "reference": "demo-welcome" });
        let request = self
            .request(Method::POST, &format!("v1/accounts/{user}/credits"))?
            .header("idempotency-key", "demo-welcome")
            .json(&body);
        answer(request).await.map(drop)
    }

    /// What a user may spend.
    pub(super) async fn available(&self, user: &str) -> Result<String, Failure> {
        let account = answer(self.request(Method::GET, &format!("v1/accounts/{user}"))?).await?;
        text(&account, "/available")
    }

    /// The id of the wallet's newest sponsorship.
    pub(super) async fn sponsorship_of(&self, wallet: Address) -> Result<String, Failure> {
        let path = format!("v1/sponsorships?sender={wallet}");
        let list = answer(self.request(Method::GET, &path)?).await?;
        text(&list, "/sponsorships/0/id")
    }

    /// Waits until the sponsorship is settled in a final block.
    pub(super) async fn final_sponsorship(
        &self,
        id: &str,
        patience: Duration,
    ) -> Result<Done, Failure> {
        let start = Instant::now();
        loop {
            let sponsorship = self.look_up(id).await?;
            if sponsorship.pointer("/final") == Some(&Value::Bool(true)) {
                return Ok(Done {
                    cost: text(&sponsorship, "/settlement/cost")?,
                    gas_cost: text(&sponsorship, "/settlement/gasCost")?,
                });
            }
            if start.elapsed() > patience {
                return Err(
                    format!("not final after {} s: {sponsorship}", patience.as_secs()).into()
                );
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// What the user's newest entry of this kind moved.
    pub(super) async fn newest_entry(&self, user: &str, kind: &str) -> Result<String, Failure> {
        let path = format!("v1/accounts/{user}/entries");
        let page = answer(self.request(Method::GET, &path)?).await?;
        let entries = page.pointer("/entries").and_then(Value::as_array).ok_or("no entries")?;
        let found = entries.iter().find(|entry| entry.pointer("/kind") == Some(&json!(kind)));
        text(found.ok_or_else(|| format!("no entry of kind {kind}"))?, "/amount")
    }

    async fn look_up(&self, id: &str) -> Result<Value, Failure> {
        answer(self.request(Method::GET, &format!("v1/sponsorships/{id}"))?).await
    }
}

async fn answer(request: RequestBuilder) -> Result<Value, Failure> {
    let response = request.send().await?;
    let (status, body) = (response.status(), response.text().await?);
    if !status.is_success() {
        return Err(format!("the API answered {status}: {body}").into());
    }
    if body.is_empty() {
        return Ok(Value::Null);
    }
    Ok(serde_json::from_str(&body)?)
}

fn text(value: &Value, pointer: &str) -> Result<String, Failure> {
    let found = value.pointer(pointer).and_then(Value::as_str);
    found.map(str::to_owned).ok_or_else(|| format!("no {pointer} in {value}").into())
}
