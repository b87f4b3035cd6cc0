//! Reads the flat array that a script returns, one value after the other. Not here: what the values mean.

use redis::Value;
use serde::de::DeserializeOwned;

/// A script's reply was not of the shape that its header declares.
#[derive(Debug, thiserror::Error)]
#[error("reply value {position} should be {expected}")]
pub struct UnexpectedReply {
    position: usize,
    expected: &'static str,
}

/// The values of one reply, in order.
#[derive(Debug)]
pub struct Reply {
    values: std::vec::IntoIter<Value>,
    position: usize,
}

impl Reply {
    pub fn new(value: Value) -> Result<Self, UnexpectedReply> {
        match value {
            Value::Array(values) => Ok(Self {
                values: values.into_iter(),
                position: 0,
            }),
            _ => Err(UnexpectedReply {
                position: 0,
                expected: "an array",
            }),
        }
    }

    fn fail<T>(&self, expected: &'static str) -> Result<T, UnexpectedReply> {
        Err(UnexpectedReply {
            position: self.position,
            expected,
        })
    }

    fn take(&mut self) -> Option<Value> {
        self.position += 1;
        self.values.next()
    }

    pub fn is_empty(&self) -> bool {
        self.values.as_slice().is_empty()
    }

    pub fn text(&mut self) -> Result<String, UnexpectedReply> {
        match self.take() {
            Some(Value::BulkString(bytes)) => String::from_utf8(bytes).or_else(|_| self.fail("UTF-8 text")),
            Some(Value::SimpleString(text)) => Ok(text),
            Some(Value::Int(number)) => Ok(number.to_string()),
            _ => self.fail("text"),
        }
    }

    /// A text that need not be one: what is no UTF-8 is replaced.
    pub fn lossy_text(&mut self) -> Result<String, UnexpectedReply> {
        match self.take() {
            Some(Value::BulkString(bytes)) => {
                Ok(String::from_utf8(bytes)
                    .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
            }
            Some(Value::SimpleString(text)) => Ok(text),
            _ => self.fail("text"),
        }
    }

    /// An integer, also one that Lua had to format (above 2^31 a Lua number is no safe reply).
    pub fn integer<T: TryFrom<i64>>(&mut self) -> Result<T, UnexpectedReply> {
        let number = match self.take() {
            Some(Value::Int(number)) => Some(number),
            Some(Value::BulkString(bytes)) => std::str::from_utf8(&bytes).ok().and_then(|text| text.parse().ok()),
            _ => None,
        };
        match number.map(T::try_from) {
            Some(Ok(number)) => Ok(number),
            _ => self.fail("an integer in range"),
        }
    }

    pub fn flag(&mut self) -> Result<bool, UnexpectedReply> {
        self.integer::<i64>().map(|number| number == 1)
    }

    /// The error of a value that is of the right shape and says nothing known.
    pub fn unexpected(&self, expected: &'static str) -> UnexpectedReply {
        UnexpectedReply {
            position: self.position,
            expected,
        }
    }

    /// Several values in one text, a space between them.
    pub fn words(&mut self) -> Result<Words, UnexpectedReply> {
        Ok(Words {
            text: self.text()?,
            start: 0,
            position: self.position,
        })
    }

    pub fn json<T: DeserializeOwned>(&mut self) -> Result<T, UnexpectedReply> {
        let text = self.text()?;
        serde_json::from_str(&text).or_else(|_| self.fail("the declared JSON"))
    }

    /// An id; a stored one that no longer parses is a reply of the wrong shape.
    pub fn id<T: std::str::FromStr>(&mut self) -> Result<T, UnexpectedReply> {
        let text = self.text()?;
        text.parse().or_else(|_| self.fail("an id"))
    }
}

/// Values of one text, in order; a Lua table of as many would cost Redis more than the text.
#[derive(Debug)]
pub struct Words {
    text: String,
    start: usize,
    position: usize,
}

impl Words {
    pub fn text(&mut self) -> Result<&str, UnexpectedReply> {
        let Some(rest) = self.text.get(self.start..) else {
            return self.fail("one word more");
        };
        let word = rest.split(' ').next().unwrap_or_default();
        self.start += word.len() + 1;
        Ok(word)
    }

    pub fn number<T: std::str::FromStr>(&mut self) -> Result<T, UnexpectedReply> {
        let position = self.position;
        self.text()?.parse().map_err(|_| UnexpectedReply {
            position,
            expected: "a number in range among its words",
        })
    }

    fn fail<T>(&self, expected: &'static str) -> Result<T, UnexpectedReply> {
        Err(UnexpectedReply {
            position: self.position,
            expected,
        })
    }
}
