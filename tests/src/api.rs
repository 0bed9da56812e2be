//! Plain HTTP and JSON-RPC, for what the client libraries do not say.

use devstack::service::Endpoints;
use reqwest::{Method, header::HeaderMap};
use serde_json::{Value, json};
use url::Url;

/// The service as the company's server sees it.
#[derive(Debug)]
pub struct Api {
    http: reqwest::Client,
    base: Url,
    paymaster_url: Url,
    secret_key: String,
}

/// An answer over HTTP.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, byte for byte.
    pub text: String,
}

impl Answer {
    /// The body as JSON.
    ///
    /// # Panics
    /// When it is none.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text)
            .unwrap_or_else(|error| panic!("{error}: {} {}", self.status, self.text))
    }

    /// The body of a success.
    ///
    /// # Panics
    /// When it is none.
    pub fn success(&self) -> Value {
        assert!((200..300).contains(&self.status), "{} {}", self.status, self.text);
        self.json()
    }

    /// The stable code of a problem ([RFC 9457](https://www.rfc-editor.org/rfc/rfc9457)).
    pub fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or_default().to_owned()
    }
}

impl Api {
    /// The company's server, with its secret key.
    pub fn new(endpoints: &Endpoints) -> Self {
        Self {
            http: reqwest::Client::new(),
            base: endpoints.api_url.clone(),
            paymaster_url: endpoints.paymaster_url.clone(),
            secret_key: endpoints.secret_key.clone(),
        }
    }

    /// Reads.
    pub async fn get(&self, path: &str) -> Answer {
        self.request(Method::GET, path, None, None).await
    }

    /// Puts what the path says.
    pub async fn put(&self, path: &str) -> Answer {
        self.request(Method::PUT, path, None, None).await
    }

    /// Deletes what the path says.
    pub async fn delete(&self, path: &str) -> Answer {
        self.request(Method::DELETE, path, None, None).await
    }

    /// Posts what needs no key.
    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.request(Method::POST, path, None, Some(body)).await
    }

    /// Posts without a body.
    pub async fn post_nothing(&self, path: &str) -> Answer {
        self.request(Method::POST, path, None, None).await
    }

    /// Posts with an `Idempotency-Key`.
    pub async fn post_keyed(&self, path: &str, key: &str, body: &Value) -> Answer {
        self.request(Method::POST, path, Some(key), Some(body)).await
    }

    async fn request(
        &self,
        method: Method,
        path: &str,
        key: Option<&str>,
        body: Option<&Value>,
    ) -> Answer {
        answer(self.build(method, path, key, body)).await
    }

    fn build(
        &self,
        method: Method,
        path: &str,
        key: Option<&str>,
        body: Option<&Value>,
    ) -> reqwest::RequestBuilder {
        let url = self.base.join(path).unwrap();
        let mut request = self.http.request(method, url).bearer_auth(&self.secret_key);
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        request
    }

    /// The same, while the service may be dying.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn try_post_keyed(
        &self,
        path: &str,
        key: &str,
        body: &Value,
    ) -> Result<Answer, reqwest::Error> {
        try_answer(self.build(Method::POST, path, Some(key), Some(body))).await
    }

    /// Sends a body to the ERC-7677 URL as it is.
    pub async fn rpc(&self, body: &Value) -> Answer {
        answer(self.http.post(self.paymaster_url.clone()).json(body)).await
    }

    /// Sends a body to another JSON-RPC URL of the service.
    pub async fn rpc_with_key(&self, key: &str, body: &Value) -> Answer {
        let url = self.base.join(&format!("rpc/{key}")).unwrap();
        answer(self.http.post(url).json(body)).await
    }

    /// Calls one method of the ERC-7677 URL: its result, or its error.
    pub async fn call(&self, method: &str, params: Value) -> Result<Value, Value> {
        result_of(self.rpc(&rpc_request(method, params)).await.success())
    }
}

/// A JSON-RPC request.
pub fn rpc_request(method: &str, params: Value) -> Value {
    json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
}

/// The result of a JSON-RPC response, or its error.
pub fn result_of(mut response: Value) -> Result<Value, Value> {
    match response.get("error") {
        Some(error) => Err(error.clone()),
        None => Ok(response["result"].take()),
    }
}

/// Asserts nothing about the answer but that there is one.
async fn answer(request: reqwest::RequestBuilder) -> Answer {
    try_answer(request).await.unwrap_or_else(|error| panic!("{error:?}"))
}

async fn try_answer(request: reqwest::RequestBuilder) -> Result<Answer, reqwest::Error> {
    let response = request.send().await?;
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    Ok(Answer { status, headers, text: response.text().await? })
}
