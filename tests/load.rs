//! What the benches measure with, held to be right: frames that come in pieces, the ledger of what was lost, the better of two runs.
//! Not here: the loads themselves (bench/), which need servers and time.
#![allow(dead_code, reason = "parts of the benches, of which a test uses some")]

#[path = "../bench/compare/figures.rs"]
mod figures;
#[path = "../bench/load/frame.rs"]
mod frame;
#[path = "../bench/load/ledger.rs"]
mod ledger;

use figures::{Figure, Run};
use frame::{Head, put_masked, put_plain};
use ledger::{Ledger, Reader, Stamp};

#[test]
fn a_frame_is_read_once_it_is_whole_however_it_comes() {
    for length in [0, 1, 125, 126, 127, 65_535] {
        let payload = vec![b'x'; length];
        let (mut masked, mut plain) = (Vec::new(), Vec::new());
        put_masked(&payload, &mut masked);
        put_plain(&payload, &mut plain);
        for mut bytes in [masked, plain] {
            let head = Head::read(&bytes).expect("the head is there");
            assert_eq!((head.opcode, head.payload), (1, length));
            assert_eq!(head.length + head.payload, bytes.len());
            for cut in 0..head.length {
                assert_eq!(
                    Head::read(&bytes[..cut]),
                    None,
                    "{cut} bytes of a head of {}",
                    head.length
                );
            }
            head.unmask(&mut bytes[head.length..]);
            assert_eq!(&bytes[head.length..], payload);
        }
    }
}

#[test]
fn a_stamp_is_found_wherever_a_server_puts_it() {
    let stamp = Stamp {
        speaker: 1_999,
        number: 12_345_678,
        said_us: 999_999_999_999,
    };
    let blank = Stamp {
        speaker: 0,
        number: 0,
        said_us: 0,
    };
    let mut reader = Reader::default();
    for fields in ["", "\"seq\":1,", "\"seq\":10,", ""] {
        let mut packet = format!("42[\"message:new\",{{{fields}\"content\":\"{}\"}}]", blank.content()).into_bytes();
        stamp.write(&mut packet);
        assert_eq!(reader.read(&packet), Some(stamp));
    }
    assert_eq!(
        reader.read(b"42[\"message:new\",{\"content\":\"of somebody else\"}]"),
        None
    );
}

/// Two rooms of two with a voice each; both speakers say so many messages, and these numbers are heard by whom they are for.
fn ledger(said: u32, heard: &[(usize, usize, u32)]) -> Ledger {
    let mut ledger = Ledger::new(4, 2, 1);
    for _ in 0..said {
        ledger.say(0);
        ledger.say(2);
    }
    for &(listener, speaker, number) in heard {
        let stamp = Stamp {
            speaker,
            number,
            said_us: 5,
        };
        ledger.hear(listener, stamp, 7);
    }
    ledger
}

#[test]
fn everything_heard_once_and_in_order_is_nothing_lost() {
    let ledger = ledger(
        2,
        &[
            (0, 0, 0),
            (1, 0, 0),
            (0, 0, 1),
            (1, 0, 1),
            (2, 2, 0),
            (2, 2, 1),
            (3, 2, 0),
            (3, 2, 1),
        ],
    );
    assert_eq!((ledger.expected(), ledger.heard), (8, 8));
    assert_eq!((ledger.lost(), ledger.strange), (0, 0));
    assert_eq!(ledger.ways.max(), 2);
}

#[test]
fn what_is_missing_doubled_or_in_the_wrong_place_is_counted() {
    let all = [(0, 0, 0), (1, 0, 0), (2, 2, 0), (3, 2, 0)];
    assert_eq!(ledger(1, &all[..3]).lost(), 1, "the last one is missing");
    assert_eq!(
        ledger(2, &[(0, 0, 1)]).lost(),
        1 + 2 + 2 + 2,
        "one was passed over, and three heard nothing"
    );
    let doubled = ledger(1, &[&all[..], &[(1, 0, 0)]].concat());
    assert_eq!((doubled.lost(), doubled.strange), (0, 1));
    let astray = ledger(1, &[&all[..], &[(1, 2, 0)]].concat());
    assert_eq!((astray.lost(), astray.strange), (0, 1), "another room's");
    let mute = ledger(1, &[&all[..], &[(1, 1, 0)]].concat());
    assert_eq!((mute.lost(), mute.strange), (0, 1), "of somebody who said nothing");
}

#[test]
fn a_run_that_lost_something_is_never_the_best() {
    let run = |figure: Figure, wrong| Run {
        figures: vec![figure],
        wrong,
    };
    assert!(run(Figure::more("deliveries/s", 2.0), 0).beats(&run(Figure::more("deliveries/s", 1.0), 0)));
    assert!(run(Figure::less("p99, ms", 1.0), 0).beats(&run(Figure::less("p99, ms", 2.0), 0)));
    assert!(!run(Figure::more("deliveries/s", 9.0), 1).beats(&run(Figure::more("deliveries/s", 1.0), 0)));
    assert!(run(Figure::more("deliveries/s", 1.0), 0).beats(&run(Figure::more("deliveries/s", 9.0), 1)));
}

#[test]
fn times_better_is_above_one_whether_more_or_less_is() {
    assert_eq!(
        Figure::more("deliveries/s", 8.0).times(&Figure::more("deliveries/s", 2.0)),
        Some(4.0)
    );
    assert_eq!(
        Figure::less("p99, ms", 2.0).times(&Figure::less("p99, ms", 8.0)),
        Some(4.0)
    );
    assert_eq!(
        Figure::more("deliveries/s", 8.0).times(&Figure::more("deliveries/s", 0.0)),
        None
    );
    assert_eq!(
        Figure::aside("load, % of a core", 8.0).times(&Figure::aside("load, % of a core", 2.0)),
        None
    );
}
