//! End to end.
#[path = "../support/mod.rs"]
mod support;

#[tokio::test]
async fn redis_smoke() {
    let redis = support::redis::Redis::start().await;
    let mut c = redis.connection().await;
    let _: () = ::redis::cmd("SET")
        .arg("a")
        .arg("b")
        .query_async(&mut c)
        .await
        .unwrap();
    redis.pause();
    redis.resume();
    redis.kill();
    redis.restart().await;
    let mut c = redis.connection().await;
    let got: Option<String> = ::redis::cmd("GET")
        .arg("a")
        .query_async(&mut c)
        .await
        .unwrap();
    assert_eq!(got, None);
    std::mem::forget(redis);
}
