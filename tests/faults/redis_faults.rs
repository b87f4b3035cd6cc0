//! What happens to Redis: it forgets scripts, cuts connections, is slow, comes back empty, or loses a master. Each fault ends
//! as it began: three nodes, everybody there, everything told and nothing under way.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use nself_realtime::hot::keys::{Keys, Partition};
use nself_realtime::types::RoomName;
use serde_json::json;

use crate::crowd::{AMNESTY, Crowd, now_ms};
use crate::model::{ROOMS, Told, difference, is_now, room_name, rooms_of, user_of};
use crate::node_faults::SLACK;
use crate::support::hosts::What;

impl Crowd {
    /// Every tenth user chooses another status while `fault` is on its way: each change is told once.
    async fn change_statuses_during(&mut self, what: &str, fault: &[&[&str]]) {
        let mark = self.hosts.mark();
        let expected = self.change_statuses(fault).await;
        let listeners = self.everybody();
        self.assert_told(what, mark, &expected, &listeners).await;
    }

    /// What is to be heard of it.
    async fn change_statuses(&mut self, fault: &[&[&str]]) -> Told {
        let mut expected = Told::new();
        let changing: Vec<usize> = self.model.users().into_iter().filter(|user| user % 10 == 5).collect();
        for (number, user) in changing.into_iter().enumerate() {
            let status = if self.model.chosen[user] == "busy" {
                "away"
            } else {
                "busy"
            };
            let asked = self.pose(user, "presence:update", json!({"status": status}));
            let command = fault[number % fault.len()];
            self.redis.tell(redis::cmd(command[0]).arg(&command[1..])).await;
            self.answer(asked).await;
            self.model.chosen[user] = status;
            self.model.changed(&mut expected, user, status);
        }
        expected
    }

    pub async fn forget_scripts(&mut self) {
        self.change_statuses_during("SCRIPT FLUSH", &[&["SCRIPT", "FLUSH"]])
            .await;
    }

    pub async fn cut_commands(&mut self) {
        self.change_statuses_during(
            "CLIENT KILL TYPE normal",
            &[&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]],
        )
        .await;
    }

    /// What is told while the bus is cut may be missed; nobody is declared gone, and afterwards everything is heard.
    pub async fn cut_the_bus(&mut self) {
        let mark = self.hosts.mark();
        for _ in 0..3 {
            self.redis
                .tell(redis::cmd("CLIENT").arg(&["KILL", "TYPE", "pubsub"]))
                .await;
        }
        let listeners = self.everybody();
        self.assert_told("CLIENT KILL TYPE pubsub", mark, &Told::new(), &listeners)
            .await;
        self.change_statuses_during("after the cut", &[&["PING"]]).await;
    }

    /// Redis answers nobody for so long; nobody hears of it.
    pub async fn slow_redis(&mut self, seconds: u32) {
        let mark = self.hosts.mark();
        self.redis.tell(redis::cmd("DEBUG").arg("SLEEP").arg(seconds)).await;
        let listeners = self.everybody();
        self.assert_told(&format!("DEBUG SLEEP {seconds}"), mark, &Told::new(), &listeners)
            .await;
        self.outlast_the_amnesty().await;
        self.change_statuses_during("after the silence", &[&["PING"]]).await;
        let told = self.told(mark, &listeners);
        assert!(told.keys().all(|(_, word)| !word.ends_with("offline")), "{told:?}");
    }

    /// SIGKILL of Redis, and an empty one in its place: quietly everything is back within five seconds.
    pub async fn empty_redis(&mut self) {
        let mark = self.hosts.mark();
        self.redis.one().kill();
        self.redis.one().restart().await;
        let back = Instant::now();
        self.settle().await;
        let took = back.elapsed();
        println!("an empty redis has every lease back after {:.2} s", took.as_secs_f64());
        assert!(
            took <= Duration::from_secs(5) + SLACK,
            "everybody is back after {took:?}"
        );
        let listeners = self.everybody();
        self.assert_told("an empty redis", mark, &Told::new(), &listeners).await;
        self.assert_resets(mark, &(0..ROOMS).collect(), 1);
        self.assert_members().await;
        self.outlast_the_amnesty().await;
        self.change_statuses_during("after the emptying", &[&["PING"]]).await;
    }

    /// A master is lost whose replicas know everything that it knew: nobody hears of it. Of a Cluster, the numbered one.
    pub async fn fail_over(&mut self, number: usize) {
        let (mark, before) = (self.hosts.mark(), self.redis.failovers().await);
        self.lose_master(number, &[]).await;
        let listeners = self.everybody();
        self.assert_told("a failover", mark, &Told::new(), &listeners).await;
        self.assert_resets(mark, &BTreeSet::new(), self.losses_since(before).await);
        self.assert_back().await;
    }

    /// A master is lost, and what was said and chosen last with it: each room that it had begins a new epoch, and nothing
    /// that clients know is taken back.
    pub async fn fail_over_with_loss(&mut self, number: usize) {
        let (mark, before) = (self.hosts.mark(), self.redis.failovers().await);
        self.redis.cut_replication().await;
        self.barrier().await;
        let expected = self.change_statuses(&[&["PING"]]).await;
        let rooms: Vec<usize> = (0..ROOMS).collect();
        let forgotten = self.lose_master(number, &rooms).await;
        let listeners = self.everybody();
        self.assert_told("a failover that lost something", mark, &expected, &listeners)
            .await;
        self.assert_resets(mark, &forgotten, self.losses_since(before).await);
        self.redis.mend_replication().await;
        self.assert_back().await;
    }

    /// How often something may have been lost: on a busy machine the Sentinels may fail over once more than they were asked to.
    async fn losses_since(&self, before: u32) -> u32 {
        (self.redis.failovers().await - before).max(1)
    }

    /// Which of these rooms the lost master had.
    async fn lose_master(&self, number: usize, rooms: &[usize]) -> BTreeSet<usize> {
        let masters = self.redis.masters().await;
        let master = masters[number % masters.len()];
        let mut its_own = BTreeSet::new();
        for room in rooms {
            let name = RoomName::parse(&room_name(*room)).expect("a room's name");
            let asked = redis::cmd("EXISTS")
                .arg(Keys::new("rt").room(&name))
                .query_async::<bool>(&mut master.connection().await)
                .await;
            // Of a Cluster, another master has it.
            if asked.unwrap_or(false) {
                its_own.insert(*room);
            }
        }
        self.redis.lose(master).await;
        its_own
    }

    /// Everybody is where they were, and what follows is told.
    async fn assert_back(&mut self) {
        self.redis.complete().await;
        self.assert_members().await;
        self.outlast_the_amnesty().await;
        self.change_statuses_during("after the failover", &[&["PING"]]).await;
    }

    /// Each client heard of each of these rooms that it is in that it began anew, and of no other: once, or as often as something
    /// may have been lost.
    fn assert_resets(&self, mark: usize, rooms: &BTreeSet<usize>, losses: u32) {
        let resets = self.hosts.since(mark, |lines| {
            let mut resets = Told::new();
            for line in lines {
                if let What::Heard(event, reset) = &line.what
                    && event == "room:reset"
                {
                    let room = reset["roomName"].as_str().expect("a name").to_owned();
                    *resets.entry((line.client, room)).or_default() += 1;
                }
            }
            resets
        });
        let mut expected = Told::new();
        for client in self.everybody() {
            for room in rooms_of(user_of(client)) {
                let (key, least) = ((client, room_name(room)), u32::from(rooms.contains(&room)));
                let came = resets.get(&key).copied().unwrap_or(0);
                // Of what nobody meant to lose there is one loss less.
                let came = came.clamp(least, losses - 1 + least);
                if came > 0 {
                    expected.insert(key, came);
                }
            }
        }
        assert!(resets == expected, "room:reset: {}", difference(&expected, &resets));
    }

    /// Members and their statuses are those of the model.
    async fn assert_members(&mut self) {
        for room in 0..ROOMS {
            let members = self.model.members(room);
            let page = self
                .ask(
                    members[0],
                    "room:members",
                    json!({"roomName": room_name(room), "limit": 1_000}),
                )
                .await;
            let listed = page["members"].as_array().expect("a list").iter().map(|member| {
                let text = |field: &str| member[field].as_str().expect("a text").to_owned();
                format!("{} is {}", text("userId"), text("status"))
            });
            let listed: BTreeSet<String> = listed.collect();
            let users: BTreeSet<usize> = members.into_iter().map(user_of).collect();
            let expected: BTreeSet<String> = users
                .iter()
                .map(|user| is_now(*user, self.model.chosen[*user]))
                .collect();
            assert_eq!(listed, expected, "members of {}", room_name(room));
        }
    }

    /// Whoever dies right after a silence is spared for a while; the bound of the next fault is not to count that.
    async fn outlast_the_amnesty(&self) {
        let keys = Keys::new("rt");
        let mut deadline = Instant::now() + AMNESTY + SLACK;
        let mut failovers = self.redis.failovers().await;
        loop {
            let mut pipeline = redis::pipe();
            for partition in Partition::all() {
                pipeline.hget(keys.swept(partition), "until");
            }
            let ends: Vec<Option<i64>> = self.redis.read(&pipeline).await;
            let last = ends.into_iter().flatten().max().unwrap_or(0);
            let left = u64::try_from(last - now_ms()).unwrap_or(0);
            if left == 0 {
                return;
            }
            if Instant::now() >= deadline {
                // One that nobody asked for begins another amnesty.
                let since = self.redis.failovers().await;
                assert!(since > failovers, "the amnesty does not end, {left} ms are left");
                println!("the Sentinels failed over once more by themselves");
                (deadline, failovers) = (Instant::now() + AMNESTY + SLACK, since);
            }
            tokio::time::sleep(Duration::from_millis(left.min(500))).await; // it ends by the clock
        }
    }
}
