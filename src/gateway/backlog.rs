//! What comes of a room while what was missed of it is being read, within a bound. Not here: the room's order (`room`), and
//! what was missed (`healing`).

use std::collections::VecDeque;
use std::sync::Arc;

use super::fanout::{Delivery, Order};

/// Events that are kept while a room is being healed.
const EVENTS_MAX: usize = 1_000;

/// What was kept, oldest first.
#[derive(Default)]
pub(super) struct Backlog(VecDeque<Arc<Delivery>>);

impl Backlog {
    /// Keeps one more; beyond the bound the oldest is let go. Whoever reads the room again finds it there, but what has no
    /// number of its own is nowhere else: true, that is lost.
    pub fn push(&mut self, delivery: Arc<Delivery>) -> bool {
        let is_full = self.0.len() == EVENTS_MAX;
        let oldest = if is_full { self.0.pop_front() } else { None };
        self.0.push_back(delivery);
        oldest.is_some_and(|oldest| place_behind(&oldest).is_some())
    }

    /// Takes what has no number of its own, and its place before a message: with the `seq` behind which it stands, in their
    /// order.
    pub fn take_before(&mut self, before: u64) -> VecDeque<(u64, Arc<Delivery>)> {
        let (mut taken, mut rest) = (Vec::new(), VecDeque::new());
        for delivery in self.0.drain(..) {
            match place_behind(&delivery) {
                Some(seq) if seq < before => taken.push((seq, delivery)),
                _ => rest.push_back(delivery),
            }
        }
        self.0 = rest;
        taken.sort_by_key(|(seq, _)| *seq);
        taken.into()
    }

    pub fn into_deliveries(self) -> VecDeque<Arc<Delivery>> {
        self.0
    }
}

fn place_behind(delivery: &Delivery) -> Option<u64> {
    match delivery {
        Delivery::Room {
            order: Order::Behind { seq, .. },
            ..
        } => Some(*seq),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::parcel::Parcel;
    use super::*;
    use crate::engine::Frame;
    use crate::types::RoomName;

    fn delivery(order: Order) -> Arc<Delivery> {
        Arc::new(Delivery::Room {
            room: RoomName::parse("lobby").expect("valid"),
            order,
            except: None,
            expelled: None,
            token: None,
            parcel: Parcel::new(Frame::event("[]"), None),
            news: None,
        })
    }

    fn behind(seq: u64) -> Arc<Delivery> {
        let (epoch, rev) = ("e".to_owned(), 0);
        delivery(Order::Behind { epoch, seq, rev })
    }

    fn message(seq: u64) -> Arc<Delivery> {
        let epoch = "e".to_owned();
        delivery(Order::Seq { epoch, seq })
    }

    #[test]
    fn what_stands_before_a_message_is_taken_in_order_and_the_rest_stays() {
        let mut backlog = Backlog::default();
        let kept = [behind(3), message(4), behind(1), behind(4), behind(3), behind(9)];
        for delivery in &kept {
            assert!(!backlog.push(Arc::clone(delivery)));
        }
        let taken = backlog.take_before(4);
        assert_eq!(taken.iter().map(|(seq, _)| *seq).collect::<Vec<_>>(), [1, 3, 3]);
        assert!(Arc::ptr_eq(&taken[1].1, &kept[0]) && Arc::ptr_eq(&taken[2].1, &kept[4]));
        assert!(backlog.take_before(4).is_empty());
        let rest = backlog.into_deliveries();
        let stays = [&kept[1], &kept[3], &kept[5]];
        assert!(rest.iter().zip(stays).all(|(left, kept)| Arc::ptr_eq(left, kept)));
        assert_eq!(rest.len(), 3);
    }

    #[test]
    fn only_what_nobody_can_read_again_is_lost() {
        let mut backlog = Backlog::default();
        for delivery in [behind(0), message(1), behind(1)] {
            backlog.push(delivery);
        }
        for seq in 3..EVENTS_MAX as u64 {
            assert!(!backlog.push(message(seq)));
        }
        let lost = [0, 1, 2, 3].map(|_| backlog.push(message(0)));
        assert_eq!(lost, [true, false, true, false]);
        assert_eq!(backlog.into_deliveries().len(), EVENTS_MAX);
    }
}
