use api::HttpSettings;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use serde_json::json;

use crate::house::{CHAIN, House, node};

async fn probe(house: &House, path: &str) -> crate::house::Reply {
    house.send(Request::get(path).body(Body::empty()).unwrap()).await
}

#[tokio::test]
async fn ready_is_when_the_database_and_every_node_answer() {
    let house = House::new().await;
    assert_eq!(probe(&house, "/healthz").await.status, StatusCode::OK);
    let reply = probe(&house, "/readyz").await;
    assert_eq!(reply.status, StatusCode::OK);
    let checks =
        json!([{ "part": "database", "ready": true }, { "part": "chain 31337", "ready": true }]);
    assert_eq!(reply.json(), json!({ "ready": true, "checks": checks }));
}

#[tokio::test]
async fn a_node_that_is_down_or_on_another_chain_is_not_ready() {
    let nowhere = "http://127.0.0.1:9/".parse().unwrap();
    let chains = [(CHAIN, nowhere), (5, node().await)];
    let house = House::on(&chains, HttpSettings::default()).await;
    assert_eq!(probe(&house, "/healthz").await.status, StatusCode::OK);
    let reply = probe(&house, "/readyz").await;
    assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE);
    let checks = json!([
        { "part": "database", "ready": true },
        { "part": "chain 5", "ready": false },
        { "part": "chain 31337", "ready": false },
    ]);
    assert_eq!(reply.json(), json!({ "ready": false, "checks": checks }));
}

#[tokio::test]
async fn a_database_that_is_gone_is_not_ready() {
    let house = House::new().await;
    house.service.store().close().await;
    let reply = probe(&house, "/readyz").await;
    assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(reply.json()["checks"][0], json!({ "part": "database", "ready": false }));
    let reply = house.get("/v1/accounts/alice").await;
    reply.assert_problem(503, "database_unavailable", "gone");
    assert_eq!(reply.header("retry-after"), Some("1"));
}
