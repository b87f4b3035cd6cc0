//! The rows of one partition, batch after batch, read through a cursor: as much at a time as one batch may have.

use std::net::IpAddr;
use std::time::SystemTime;

use serde_json::Value;
use tokio_postgres::{Portal, Row, Transaction};

use crate::archive::chain::{self, Hash};
use crate::archive::query::QueryError;

/// Rows that are fetched at a time.
const FETCH: i32 = 500;
/// The most rows that a batch may have; of what has more nothing is compared.
const BATCH_MAX: usize = 10_000;
/// Rows that a finding names.
pub(super) const NAMED: usize = 10;

const STATEMENT: &str = "
SELECT batch, uuid_send(id), event_type, socket_id, user_id, room_name, payload::text, ip_address::text, metadata::text,
    created_at, incarnation, stream_id
FROM realtime_events WHERE chain = $1 ORDER BY batch";

/// The rows of a partition that have not been looked at yet.
pub(super) struct Rows<'a> {
    snapshot: &'a Transaction<'a>,
    portal: Portal,
    fetched: std::vec::IntoIter<Row>,
    next: Option<Stored>,
}

/// What a batch's rows are.
pub(super) struct Group {
    /// The batch that the rows name.
    pub batch: Option<i64>,
    /// How many there are.
    pub found: u64,
    /// What they hash to; `None` where no batch has so many rows, or one of them cannot be what was written.
    pub digest: Option<Hash>,
    /// The first of them, or, where some give themselves away, the first of those.
    pub named: Vec<String>,
    /// The UTC day that all of them are of; `None` where they are of several.
    pub day: Option<String>,
}

/// A row as it stands in the table.
struct Stored {
    batch: Option<i64>,
    id: [u8; 16],
    event_type: String,
    socket_id: Option<String>,
    user_id: Option<String>,
    room_name: Option<String>,
    payload: Option<Value>,
    ip: Option<IpAddr>,
    metadata: Option<Value>,
    created_at_ms: i64,
    incarnation: String,
    stream_id: String,
    /// It holds what no sink writes.
    is_odd: bool,
}

impl<'a> Rows<'a> {
    pub async fn of(snapshot: &'a Transaction<'a>, partition: u16) -> Result<Self, QueryError> {
        let chain = i16::try_from(partition).expect("there are 64 partitions");
        let mut rows = Self {
            portal: snapshot.bind(STATEMENT, &[&chain]).await?,
            snapshot,
            fetched: Vec::new().into_iter(),
            next: None,
        };
        rows.advance().await?;
        Ok(rows)
    }

    /// The batch that the next rows name; `None` when there are no more. Rows that name none come last.
    pub fn next_batch(&self) -> Option<Option<i64>> {
        self.next.as_ref().map(|row| row.batch)
    }

    /// Takes the rows of the next batch; there must be one.
    pub async fn group(&mut self) -> Result<Group, QueryError> {
        let batch = self.next_batch().flatten();
        let (mut rows, mut found) = (Vec::new(), 0);
        while self.next_batch() == Some(batch) {
            found += 1;
            if let Some(row) = self.advance().await?
                && rows.len() < BATCH_MAX
            {
                rows.push(row);
            }
        }
        Ok(Group::of(batch, &rows, found))
    }

    /// Takes the next row, and looks at the one behind it.
    async fn advance(&mut self) -> Result<Option<Stored>, QueryError> {
        if self.fetched.as_slice().is_empty() {
            self.fetched = self.snapshot.query_portal(&self.portal, FETCH).await?.into_iter();
        }
        let next = self.fetched.next().map(|row| Stored::read(&row)).transpose()?;
        Ok(std::mem::replace(&mut self.next, next))
    }
}

impl Group {
    fn of(batch: Option<i64>, rows: &[Stored], found: u64) -> Self {
        let is_complete = found <= BATCH_MAX as u64;
        let odd: Vec<&Stored> = rows.iter().filter(|row| row.is_odd).collect();
        let named = if odd.is_empty() {
            rows.iter().collect()
        } else {
            odd.clone()
        };
        let hashed: Vec<chain::Row<'_>> = rows.iter().map(Stored::hashed).collect();
        let day = rows.first().map(Stored::day);
        Self {
            batch,
            found,
            digest: (is_complete && odd.is_empty()).then(|| chain::digest(&hashed)),
            named: named.into_iter().take(NAMED).map(|row| uuid(&row.id)).collect(),
            day: day.filter(|day| rows.iter().all(|row| row.day() == *day)),
        }
    }
}

impl Stored {
    fn read(row: &Row) -> Result<Self, tokio_postgres::Error> {
        let mut is_odd = false;
        let id: &[u8] = row.try_get(1)?;
        let mut parsed = |text: Option<&str>| -> Option<Value> {
            let json = text.map(serde_json::from_str).transpose();
            json.unwrap_or_else(|_| {
                is_odd = true;
                None
            })
        };
        let payload = parsed(row.try_get(6)?);
        let metadata = parsed(row.try_get(8)?);
        let ip: Option<&str> = row.try_get(7)?;
        let address = ip.map(|ip| address(ip).ok_or(())).transpose();
        let created_at_ms = whole_ms(row.try_get(9)?);
        let incarnation: Option<String> = row.try_get(10)?;
        let stream_id: Option<String> = row.try_get(11)?;
        is_odd |= address.is_err() || created_at_ms.is_none() || incarnation.is_none() || stream_id.is_none();
        Ok(Self {
            batch: row.try_get(0)?,
            id: id.try_into().unwrap_or_default(),
            event_type: row.try_get(2)?,
            socket_id: row.try_get(3)?,
            user_id: row.try_get(4)?,
            room_name: row.try_get(5)?,
            payload,
            ip: address.unwrap_or_default(),
            metadata,
            created_at_ms: created_at_ms.unwrap_or_default(),
            incarnation: incarnation.unwrap_or_default(),
            stream_id: stream_id.unwrap_or_default(),
            is_odd,
        })
    }

    fn hashed(&self) -> chain::Row<'_> {
        chain::Row {
            id: self.id,
            event_type: &self.event_type,
            socket_id: self.socket_id.as_deref(),
            user_id: self.user_id.as_deref(),
            room_name: self.room_name.as_deref(),
            payload: self.payload.as_ref(),
            ip: self.ip,
            metadata: self.metadata.as_ref(),
            created_at_ms: self.created_at_ms,
            incarnation: &self.incarnation,
            stream_id: &self.stream_id,
        }
    }

    /// As Postgres writes a date.
    fn day(&self) -> String {
        let at = jiff::Timestamp::from_millisecond(self.created_at_ms).unwrap_or_default();
        at.strftime("%Y-%m-%d").to_string()
    }
}

/// An address as Postgres writes it with its mask; one that stands for a network was never written by a sink.
fn address(text: &str) -> Option<IpAddr> {
    let (address, mask) = text.split_once('/')?;
    let address: IpAddr = address.parse().ok()?;
    let whole = if address.is_ipv4() { "32" } else { "128" };
    (mask == whole).then_some(address)
}

/// Unix ms, where the time has no smaller part: a sink writes none.
fn whole_ms(time: SystemTime) -> Option<i64> {
    let us = jiff::Timestamp::try_from(time).ok()?.as_microsecond();
    (us % 1_000 == 0).then_some(us / 1_000)
}

/// As it is written.
pub(super) fn uuid(id: &[u8; 16]) -> String {
    let hex: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
    format!(
        "{}-{}-{}-{}-{}",
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..]
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_sink_never_writes_is_no_value() {
        assert_eq!(address("192.0.2.7/32"), Some("192.0.2.7".parse().unwrap()));
        assert_eq!(address("2001:db8::1/128"), Some("2001:db8::1".parse().unwrap()));
        assert_eq!(address("192.0.2.0/24"), None);
        assert_eq!(address("2001:db8::1/32"), None);
        let at = |us| SystemTime::UNIX_EPOCH + std::time::Duration::from_micros(us);
        assert_eq!(whole_ms(at(1_500_000)), Some(1_500));
        assert_eq!(whole_ms(at(1_500_001)), None);
    }

    #[test]
    fn an_id_is_written_as_a_uuid() {
        let id: [u8; 16] = std::array::from_fn(|index| index as u8);
        assert_eq!(uuid(&id), "00010203-0405-0607-0809-0a0b0c0d0e0f");
    }
}
