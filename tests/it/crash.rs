//! Kill the service anywhere, start it again, and it heals by itself.

use std::iter;

use e2e::{Wallet, on_own_stack, user::on_next_key};
use futures::{StreamExt, stream::FuturesUnordered};

/// Requests under way when the service is killed.
const AT_ONCE: usize = 16;

#[test]
fn an_operation_that_lands_while_the_service_is_dead_is_settled_once_after_its_restart() {
    on_own_stack(async |env| {
        let user = env.user("outlives", Wallet::SIMPLE_07).await;
        env.stack.bundler.hold().await.unwrap();
        let request = user.increment();
        let sent = user.sends(&request).await;
        user.reaches("open", &sent.op).await;

        env.crash_service().await;
        env.stack.bundler.bundle_now().await.unwrap();
        assert!(user.lands(&request, &sent).await.success);
        env.stack.bundler.release().await.unwrap();
        assert_eq!(user.reservation().await.state, "open", "nobody was there to settle it");

        env.restart_service().await;
        user.reaches("settled_provisional", &sent.op).await;
        env.crash_service().await;
        env.restart_service().await;
        env.make_final().await;
        user.settled_exactly(env, &sent).await;
        assert_eq!(user.count().await, 1);
    });
}

#[test]
fn a_crash_while_sponsoring_loses_nothing_and_doubles_nothing() {
    on_own_stack(async |env| {
        let user = env.user("crashes", Wallet::SIMPLE_08).await;
        let op = user.estimates().await;
        let ops = iter::successors(Some(op), |op| Some(on_next_key(op)));
        let bodies: Vec<_> = ops.take(AT_ONCE).map(|op| user.sponsorship_body(&op)).collect();
        let key = |number: usize| format!("crash-{number}");

        let mut asked: FuturesUnordered<_> = bodies
            .iter()
            .enumerate()
            .map(async |(number, body)| {
                (number, env.api.try_post_keyed("v1/sponsorships", &key(number), body).await)
            })
            .collect();
        let (first, answer) = asked.next().await.unwrap();
        env.crash_service().await;
        let mut answered = vec![(first, answer.unwrap())];
        let mut unanswered = 0;
        while let Some((number, answer)) = asked.next().await {
            match answer {
                Ok(answer) => answered.push((number, answer)),
                Err(_) => unanswered += 1,
            }
        }
        assert!(unanswered > 0, "the kill came while requests were under way");

        env.restart_service().await;
        for (number, body) in bodies.iter().enumerate() {
            let again = env.api.post_keyed("v1/sponsorships", &key(number), body).await;
            again.success();
            for (_, before) in answered.iter().filter(|(answered, _)| *answered == number) {
                assert_eq!(again.text, before.text, "what was answered before the crash holds");
            }
        }
        let reserved = user.reservations().await;
        assert_eq!(reserved.len(), 1 + bodies.len());
        assert!(reserved.iter().all(|reservation| reservation.grants == 1));
        user.books_agree(env).await;
    });
}
