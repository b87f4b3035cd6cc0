//! What is sent: an event from its parts, an ack, `message:new` of a message from the bus, and compressing it.

use std::hint::black_box;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput};
use nself_realtime::engine::Frame;
use nself_realtime::gateway::outgoing::{message_body, message_new};

use super::said::{self, CONTENTS, OFFSET};

pub fn bench(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("encode");
    let (room, user) = (said::room(), said::user());
    for len in CONTENTS {
        let (content, message) = (said::content(len), said::message(len));
        let ack = format!(r#"[{{"success":true,"content":"{content}"}}]"#);
        group.throughput(Throughput::Bytes(len as u64));
        group.bench_function(BenchmarkId::new("event_parts", len), |bencher| {
            let parts = [br#"["message:new","#, message.body.as_bytes(), b"}]"];
            bencher.iter(|| Frame::event_parts(black_box(&parts)));
        });
        group.bench_function(BenchmarkId::new("ack", len), |bencher| {
            bencher.iter(|| Frame::ack(black_box(7), black_box(&ack)));
        });
        // By the sender's node, once.
        group.bench_function(BenchmarkId::new("message_body", len), |bencher| {
            bencher.iter(|| message_body(&room, &user, black_box(&content), None, None, None));
        });
        // By every node, for all its members at once.
        group.bench_function(BenchmarkId::new("message_new", len), |bencher| {
            bencher.iter(|| message_new(black_box(&message), Some(OFFSET)));
        });
        let is_compressed = |frame: &Frame| frame.wire_for(true).len() < frame.wire_for(false).len();
        if !is_compressed(&message_new(&message, None)) {
            continue;
        }
        group.bench_function(BenchmarkId::new("compressed", len), |bencher| {
            // A frame keeps what was made of it: a new one each time.
            let new = || message_new(&message, Some(OFFSET));
            let compress = |frame: Frame| {
                black_box(frame.wire_for(true));
                frame
            };
            bencher.iter_batched(new, compress, BatchSize::SmallInput);
        });
    }
    group.finish();
}
