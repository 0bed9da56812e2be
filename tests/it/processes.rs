//! `serve` and `worker` as processes that come and go.

use e2e::{Env, Wallet, on_own_stack, on_processes_apart, owner::HeldAccount, wait};
use futures::{future::join_all, join};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// Requests under way when the service is told to end: for so many held accounts it waits at once.
const AT_ONCE: usize = 4;

#[test]
fn nothing_is_signed_before_a_worker_reads_the_chain_and_then_it_settles() {
    on_processes_apart(async |env| {
        let user = env.user("two-processes", Wallet::SIMPLE_07).await;
        let before = user.balances().await;
        let request = user.increment();
        let refused = user.is_refused(&request).await;
        assert_eq!(refused.reason, "chain_not_ready", "{refused:?}");
        assert_eq!(refused.code, Some(-32500));
        assert_eq!(user.balances().await, before);
        assert!(user.reservations().await.is_empty(), "nothing is remembered of a refusal");

        env.start_worker().await;
        wait::until("the worker reads the chain", 30, async || {
            env.ledger.head_block().await.map(drop).ok_or("it has read nothing".to_owned())
        })
        .await;
        let sent = user.sends(&request).await;
        assert!(user.lands(&request, &sent).await.success);
        user.settled_exactly(env, &sent).await;
    });
}

#[test]
fn a_service_that_is_told_to_end_answers_what_is_under_way() {
    on_own_stack(async |env| {
        let mut users = Vec::new();
        let mut bodies = Vec::new();
        for number in 0..AT_ONCE {
            let user = env.user(&format!("ends-{number}"), Wallet::SIMPLE_08).await;
            bodies.push(user.sponsorship_body(&user.estimates().await));
            users.push(user);
        }
        let health = env.endpoints.api_url.join("healthz").unwrap();

        let half_sent = HalfSent::start(env).await;
        // The locks keep the requests under way until the service has heard the signal.
        let mut locks = Vec::new();
        for user in &users {
            locks.push(env.holds_account(&user.external_id).await);
        }
        let asked = join_all(bodies.iter().enumerate().map(async |(number, body)| {
            env.api.try_post_keyed("v1/sponsorships", &format!("ends-{number}"), body).await
        }));
        let (answers, has_succeeded) = join!(asked, async {
            locks[0].is_waited_for(i64::try_from(AT_ONCE).unwrap()).await;
            let (has_succeeded, ()) = join!(env.stop_service(), async {
                wait::until("nobody listens any more", 10, async || {
                    let answer = reqwest::get(health.clone()).await;
                    answer.map_or(Ok(()), |answer| Err(answer.status().to_string()))
                })
                .await;
                join_all(locks.into_iter().map(HeldAccount::release)).await;
                let answer = half_sent.finish().await;
                assert!(answer.contains("0x7a69"), "the chain's id: {answer}");
            });
            has_succeeded
        });
        for answer in answers {
            answer.unwrap().success();
        }
        assert!(has_succeeded, "it ends with status 0");

        env.restart_service().await;
        for user in users {
            assert_eq!(user.reservations().await.len(), 2, "the first was for the estimates");
            user.books_agree(env).await;
        }
    });
}

/// A JSON-RPC call whose body has not come yet.
struct HalfSent(TcpStream);

impl HalfSent {
    const CALL: &str = r#"{"jsonrpc":"2.0","id":1,"method":"eth_chainId","params":[]}"#;
    const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

    /// Sends everything but the body. The service says "continue" once somebody waits for that, and not before.
    async fn start(env: &Env) -> Self {
        let url = &env.endpoints.paymaster_url;
        let mut stream = TcpStream::connect(&*url.socket_addrs(|| None).unwrap()).await.unwrap();
        let head = format!(
            "POST {} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
            content-length: {}\r\nexpect: 100-continue\r\n\r\n",
            url.path(),
            Self::CALL.len()
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut told = [0; Self::CONTINUE.len()];
        stream.read_exact(&mut told).await.unwrap();
        assert_eq!(told, *Self::CONTINUE);
        Self(stream)
    }

    /// Sends the body; the answer, until the service closes the connection.
    async fn finish(mut self) -> String {
        self.0.write_all(Self::CALL.as_bytes()).await.unwrap();
        let mut answer = String::new();
        self.0.read_to_string(&mut answer).await.unwrap();
        answer
    }
}
