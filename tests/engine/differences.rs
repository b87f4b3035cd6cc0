//! Where we differ from the oracle on purpose: by reason, script by script. The differential test fails when an entry is
//! missing, is wrong, or has become superfluous. "The reference server" is socket.io's own, 4.8, to which the same scripts were
//! played when this list was made.

/// Scripts that differ for one reason.
pub struct Difference {
    pub why: &'static str,
    pub scripts: &'static [Outcome],
}

/// What each server makes of one script.
pub struct Outcome {
    pub script: &'static str,
    pub ours: &'static str,
    pub oracle: &'static str,
}

const fn outcome(script: &'static str, ours: &'static str, oracle: &'static str) -> Outcome {
    Outcome { script, ours, oracle }
}

pub const DIFFERENCES: &[Difference] = &[
    Difference {
        why: "A WebSocket handshake is what RFC 6455, section 4.2.1, says it is; the oracle looks at the key's presence alone.",
        scripts: &[
            outcome("websocket request: connection keep-alive", "http 400", "http 101"),
            outcome("websocket request: empty key", "http 400", "http 101"),
            outcome("websocket request: key too short", "http 400", "http 101"),
            outcome("websocket request: no connection header", "http 400", "http 101"),
            outcome("websocket request: no upgrade header", "http 400", "http 101"),
            outcome("websocket request: no version", "http 426", "http 101"),
            outcome("websocket request: upgrade to something else", "http 400", "http 101"),
            outcome("websocket request: version 12", "http 426", "http 101"),
        ],
    },
    Difference {
        why: "A WebSocket for nobody is refused by HTTP, so that the client hears why; the oracle opens it and then closes it.",
        scripts: &[outcome("websocket request: sid unknown", "http 400", "http 101")],
    },
    Difference {
        why: "Who asks for a WebSocket must say so in the query too, as with the reference server; the oracle answers by polling.",
        scripts: &[outcome(
            "websocket request: transport polling",
            "http 400",
            r#"http 200 0{"maxPayload":1000000,"pingInterval":300,"pingTimeout":10000,"sid":"<sid>","upgrades":["websocket"]}"#,
        )],
    },
    Difference {
        why: "The preflight of CORS is the engine's business here; the oracle leaves it to a layer above.",
        scripts: &[outcome("request: OPTIONS", "http 204", "http 400")],
    },
    Difference {
        why: "EIO counts when a session is opened; afterwards the session knows its version, as with the reference server.",
        scripts: &[outcome("session request: EIO 3", "http 200  | open", "http 400 | open")],
    },
    Difference {
        why: "A POST without a packet is no payload: there is always one, as with the reference server.",
        scripts: &[
            outcome("payload: empty", "http 400 | gone 400", "http 200 ok | open"),
            outcome(
                "session request: POST without a length",
                "http 400 | gone 400",
                "http 200 ok | open",
            ),
        ],
    },
    Difference {
        why: "More than a stock client ever sends at once is a flood: it is refused before it is parsed.",
        scripts: &[outcome(
            "payload: 50,000 packets",
            "http 413 | gone 400",
            "http 200 ok | open",
        )],
    },
    Difference {
        why: "A length over the limit is refused when it is announced; the oracle waits for the bytes.",
        scripts: &[outcome(
            "session request: POST announces too much",
            "http 413 | gone 400",
            "http silent | gone 400",
        )],
    },
    Difference {
        why: "In version 4 only the server pings. A client that does speaks another version, and is closed, as with the reference server; the oracle counts it as a pong, or refuses it and goes on.",
        scripts: &[
            outcome("packet: ping", "closed", "open | 4after"),
            outcome(
                "packet: ping from the client",
                "closed",
                r#"open | 42["message-back","after"]"#,
            ),
            outcome("packet: ping with data", "closed", "open | 4after"),
            outcome("payload: ping", "http 400 | gone 400", "http 200 ok | open"),
            outcome("payload: ping probe", "http 400 | gone 400", "http 400 | open"),
        ],
    },
    Difference {
        why: "A packet that is valid and means nothing here is passed over, as with the reference server; the oracle refuses it.",
        scripts: &[
            outcome("packet: noop", "open | 4after", "closed"),
            outcome(
                "packet: noop between events",
                r#"open | 42["message-back","after"]"#,
                "closed",
            ),
            outcome("packet: pong probe", "open | 4after", "closed"),
            outcome("packet: upgrade", "open | 4after", "closed"),
            outcome("payload: as protocol 3 would", "http 200 ok | open", "http 400 | open"),
            outcome("payload: noop", "http 200 ok | open", "http 400 | open"),
            outcome("payload: pong probe", "http 200 ok | open", "http 400 | open"),
            outcome("payload: upgrade", "http 200 ok | open", "http 400 | open"),
            outcome("upgrade: twice", "3probe | 4a | open | 4after", "3probe | 4a | closed"),
        ],
    },
    Difference {
        why: "A packet in base64 is a packet on either transport, as with the reference server.",
        scripts: &[outcome("packet: base64", "opcode 2 01020304 | open | 4after", "closed")],
    },
    Difference {
        why: "A probe that fails costs nothing: the session goes on over polling, as with the reference server; the oracle ends it.",
        scripts: &[outcome(
            "upgrade: closed while probing",
            "3probe | closed | open",
            "3probe | closed | gone 400",
        )],
    },
    Difference {
        why: "The next poll is told of the close that a packet caused, as with the reference server; the oracle's finds no session.",
        scripts: &[
            outcome(
                "polling: attachment missing",
                r#"http 200 ok | 40{"sid":"<sid>"} | 42["auth",{}] | open | http 200 ok | 1 | gone 400"#,
                r#"http 200 ok | 40{"sid":"<sid>"} | 42["auth",{}] | open | http 200 ok | gone 400"#,
            ),
            outcome(
                "polling: attachment of nothing",
                r#"http 200 ok | 40{"sid":"<sid>"} | 42["auth",{}] | open | http 200 ok | 1 | gone 400"#,
                r#"http 200 ok | 40{"sid":"<sid>"} | 42["auth",{}] | open | http 200 ok | gone 400"#,
            ),
            outcome(
                "polling: bad JSON",
                r#"http 200 ok | 40{"sid":"<sid>"} | 42["auth",{}] | open | http 200 ok | 1 | gone 400"#,
                r#"http 200 ok | 40{"sid":"<sid>"} | 42["auth",{}] | open | http 200 ok | gone 400"#,
            ),
            outcome(
                "polling: bad type",
                r#"http 200 ok | 40{"sid":"<sid>"} | 42["auth",{}] | open | http 200 ok | 1 | gone 400"#,
                r#"http 200 ok | 40{"sid":"<sid>"} | 42["auth",{}] | open | http 200 ok | gone 400"#,
            ),
        ],
    },
    Difference {
        why: "Arguments go through as they were written; the oracle, which parses them into values, drops the event.",
        scripts: &[
            outcome(
                "event: a number beyond any",
                r#"42["message-back",1e999] | open | 42["message-back","after"]"#,
                r#"open | 42["message-back","after"]"#,
            ),
            outcome(
                "event: half a surrogate pair",
                r#"42["message-back","\ud83d"] | open | 42["message-back","after"]"#,
                r#"open | 42["message-back","after"]"#,
            ),
            outcome(
                "event: nested 10,000 deep",
                r#"42["message-back",[[… 20019 bytes | open | 42["message-back","after"]"#,
                r#"open | 42["message-back","after"]"#,
            ),
            outcome(
                "event: objects nested 10,000 deep",
                r#"42["message-back",{"… 60020 bytes | open | 42["message-back","after"]"#,
                r#"open | 42["message-back","after"]"#,
            ),
        ],
    },
    Difference {
        why: "An escape in the event's name is JSON like any other; the oracle takes a name only from where it stands.",
        scripts: &[outcome(
            "event: name with an escape",
            r#"42["message-back",1] | open | 42["message-back","after"]"#,
            "closed",
        )],
    },
    Difference {
        why: "An event is one JSON array and nothing behind it; the oracle never reads so far.",
        scripts: &[
            outcome(
                "event: more after the end",
                "closed",
                r#"42["message-back",1] | open | 42["message-back","after"]"#,
            ),
            outcome(
                "event: two arrays",
                "closed",
                r#"42["message-back",1] | open | 42["message-back","after"]"#,
            ),
        ],
    },
    Difference {
        why: "A second CONNECT to a namespace is no protocol, and closes, as with the reference server; the oracle ignores it.",
        scripts: &[
            outcome("connect: a slash", "closed", r#"open | 42["message-back","after"]"#),
            outcome(
                "connect: a slash and a comma",
                "closed",
                r#"open | 42["message-back","after"]"#,
            ),
            outcome("connect: again", "closed", r#"open | 42["message-back","after"]"#),
            outcome(
                "connect: again with a payload",
                "closed",
                r#"open | 42["message-back","after"]"#,
            ),
        ],
    },
    Difference {
        why: "A packet for a namespace that is not connected closes, whether there is such a namespace or not, as with the reference server; the oracle ignores it when there is none.",
        scripts: &[
            outcome(
                "attachments: to an unknown namespace",
                "closed",
                r#"open | 42["message-back","after"]"#,
            ),
            outcome(
                "disconnect: an unknown namespace",
                "closed",
                r#"open | 42["message-back","after"]"#,
            ),
            outcome(
                "event: namespace without a comma",
                "closed",
                r#"open | 42["message-back","after"]"#,
            ),
            outcome(
                "event: to an unknown namespace",
                "closed",
                r#"open | 42["message-back","after"]"#,
            ),
            outcome(
                "event: with an ack, to an unknown namespace",
                "closed",
                r#"open | 42["message-back","after"]"#,
            ),
        ],
    },
    Difference {
        why: "The payload of CONNECT is an object or nothing, as with the reference server; the oracle takes any JSON, and what is none it answers by a CONNECT without its handler.",
        scripts: &[
            outcome(
                "connect: without a slash",
                "closed",
                r#"open | 42["message-back","after"]"#,
            ),
            outcome(
                "unconnected: connect with a string",
                "closed",
                r#"40{"sid":"<sid>"} | 42["auth","x"] | open | 42["message-back","after"]"#,
            ),
            outcome(
                "unconnected: connect with an array",
                "closed",
                r#"40{"sid":"<sid>"} | 42["auth",[1]] | open | 42["message-back","after"]"#,
            ),
            outcome(
                "unconnected: connect with broken JSON",
                "closed",
                r#"40{"sid":"<sid>"} | open"#,
            ),
            outcome(
                "unconnected: connect with more after the JSON",
                "closed",
                r#"40{"sid":"<sid>"} | open"#,
            ),
            outcome(
                "unconnected: connect with null",
                "closed",
                r#"40{"sid":"<sid>"} | 42["auth",null] | open | 42["message-back","after"]"#,
            ),
        ],
    },
    Difference {
        why: "A placeholder must name an attachment that is there, else the packet is a lie, and closes, as with the reference server; the oracle takes another attachment, or drops the event.",
        scripts: &[
            outcome(
                "attachments: placeholder a string",
                "closed",
                r#"open | 42["message-back","after"]"#,
            ),
            outcome(
                "attachments: placeholder negative",
                "closed",
                r#"open | 42["message-back","after"]"#,
            ),
            outcome(
                "attachments: placeholder out of range",
                "closed",
                r#"451-["message-back",{"_placeholder":true,"num":0}] | opcode 2 010203 | open | 42["message-back","after"]"#,
            ),
            outcome(
                "attachments: placeholder splice",
                "closed",
                r#"open | 42["message-back","after"]"#,
            ),
            outcome(
                "attachments: placeholder with a point",
                "closed",
                r#"open | 42["message-back","after"]"#,
            ),
            outcome(
                "attachments: placeholder without a number",
                "closed",
                r#"open | 42["message-back","after"]"#,
            ),
        ],
    },
    Difference {
        why: "Placeholders and attachments go through as they came; the oracle numbers them anew, by what it understood as a placeholder.",
        scripts: &[
            outcome(
                "attachments: in the other order",
                r#"452-["message-back",{"_placeholder":true,"num":1},{"_placeholder":true,"num":0}] | opcode 2 010203 | opcode 2 04 | open | 42["message-back","after"]"#,
                r#"452-["message-back",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}] | opcode 2 010203 | opcode 2 04 | open | 42["message-back","after"]"#,
            ),
            outcome(
                "attachments: placeholder false",
                r#"451-["message-back",{"_placeholder":false,"num":0}] | opcode 2 010203 | open | 42["message-back","after"]"#,
                r#"open | 42["message-back","after"]"#,
            ),
            outcome(
                "attachments: placeholder missing",
                r#"451-["message-back",1] | opcode 2 010203 | open | 42["message-back","after"]"#,
                r#"42["message-back",1] | open | 42["message-back","after"]"#,
            ),
            outcome(
                "attachments: placeholder with its keys turned",
                r#"451-["message-back",{"_placeholder":true,"num":0}] | opcode 2 010203 | open | 42["message-back","after"]"#,
                r#"42["message-back",{"_placeholder":true,"num":0}] | open | 42["message-back","after"]"#,
            ),
        ],
    },
];
