//! What waits for one connection's handler, in order. Bounded by count and bytes: who fills it asks for room first, and stops
//! reading when there is none.

use std::collections::VecDeque;

use super::protocol::Message;

/// The next thing to be done for a connection.
#[derive(Debug)]
pub(super) enum Input {
    Message(Message),
    Signal,
}

#[derive(Debug, Default)]
pub(super) struct Inbox {
    waiting: VecDeque<Input>,
    bytes: usize,
}

impl Inbox {
    pub(super) fn has_room(&self, max_events: usize, max_bytes: usize) -> bool {
        self.waiting.len() < max_events && self.bytes < max_bytes
    }

    pub(super) fn push(&mut self, input: Input) {
        self.bytes += len(&input);
        self.waiting.push_back(input);
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// The oldest input; an empty queue keeps no memory.
    pub(super) fn pop(&mut self) -> Option<Input> {
        let Some(input) = self.waiting.pop_front() else {
            self.waiting = VecDeque::new();
            return None;
        };
        self.bytes -= len(&input);
        Some(input)
    }
}

fn len(input: &Input) -> usize {
    match input {
        Input::Message(Message::Text(text)) => text.len(),
        Input::Message(Message::Binary(data)) => data.len(),
        Input::Signal => 0,
    }
}
