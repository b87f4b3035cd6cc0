//! The differential scripts of the Socket.IO layer, over WebSocket. Not here: the layers below (`payloads`, `websocket`).

use super::{Script, Server, Step};
use crate::wire::{binary, text};

/// One attachment's place.
const PLACEHOLDER: &str = r#"{"_placeholder":true,"num":0}"#;

pub fn all() -> Vec<Script> {
    let connected = connected_texts()
        .into_iter()
        .map(|(name, packet)| script(name, true, vec![text(&packet)]));
    let unconnected = UNCONNECTED
        .iter()
        .map(|(name, packet)| script(name, false, vec![text(packet)]));
    let attachments = attachments().into_iter().map(|(name, sent)| script(name, true, sent));
    let several = SEVERAL.iter().map(|(name, packets)| {
        let mut script = script(name, true, Vec::new());
        script.steps.extend(
            packets
                .iter()
                .flat_map(|packet| [Step::Send(text(packet)), Step::Settle]),
        );
        script
    });
    let polling = POLLING.iter().map(|(name, payload)| Script {
        name,
        server: Server::Socket,
        steps: vec![
            Step::OpenPolling,
            Step::Post(b"40".to_vec()),
            Step::Settle,
            Step::Post(payload.as_bytes().to_vec()),
        ],
    });
    connected
        .chain(unconnected)
        .chain(attachments)
        .chain(several)
        .chain(polling)
        .collect()
}

/// A WebSocket session that sends these at once; when `connected`, after a CONNECT.
fn script(name: &'static str, connected: bool, sent: Vec<Vec<u8>>) -> Script {
    let connect = connected.then_some(Step::Connect);
    let steps = [Step::OpenWebsocket]
        .into_iter()
        .chain(connect)
        .chain(sent.into_iter().map(Step::Send))
        .collect();
    Script {
        name,
        server: Server::Socket,
        steps,
    }
}

fn connected_texts() -> Vec<(&'static str, String)> {
    let mut texts: Vec<_> = CONNECTED
        .iter()
        .map(|(name, packet)| (*name, (*packet).to_owned()))
        .collect();
    texts.extend([
        (
            "event: nested 100 deep",
            format!(r#"42["message",{}{}]"#, "[".repeat(100), "]".repeat(100)),
        ),
        (
            "event: nested 10,000 deep",
            format!(r#"42["message",{}{}]"#, "[".repeat(10_000), "]".repeat(10_000)),
        ),
        (
            "event: objects nested 10,000 deep",
            format!(r#"42["message",{}1{}]"#, r#"{"a":"#.repeat(10_000), "}".repeat(10_000)),
        ),
        (
            "event: 10,000 arguments",
            format!(r#"42["message"{}]"#, ",1".repeat(10_000)),
        ),
        (
            "event: a name of 10,000 bytes",
            format!(r#"42["{}"]"#, "e".repeat(10_000)),
        ),
        (
            "event: 900,000 bytes",
            format!(r#"42["message","{}"]"#, "x".repeat(900_000)),
        ),
        (
            "connect: a namespace of 10,000 bytes",
            format!("40/{}", "n".repeat(10_000)),
        ),
        (
            "ack: an id of 1,000 digits",
            format!(r#"42{}["message-with-ack",1]"#, "9".repeat(1000)),
        ),
        (
            "attachments: a count of 1,000 digits",
            format!(r#"45{}-["message"]"#, "9".repeat(1000)),
        ),
    ]);
    texts
}

/// One packet, sent to a connection that is connected to the main namespace.
const CONNECTED: &[(&str, &str)] = &[
    ("event: plain", r#"42["message",1]"#),
    ("event: no arguments", r#"42["message"]"#),
    (
        "event: every kind of value",
        r#"42["message",null,true,-0.5,"é\n\u20ac",[],{},[[{"a":[1]}]]]"#,
    ),
    ("event: spaces in the JSON", r#"42[ "message" , 1 , { "a" : 2 } ]"#),
    ("event: a newline before the JSON", "42\n[\"message\",1]"),
    ("event: a space before the JSON", r#"42 ["message",1]"#),
    ("event: name with an escape", r#"42["m\u0065ssage",1]"#),
    (
        "event: large integers",
        r#"42["message",9007199254740993,18446744073709551615]"#,
    ),
    ("event: a number beyond any", r#"42["message",1e999]"#),
    ("event: small number", r#"42["message",1e-7,1.50]"#),
    ("event: a surrogate pair", r#"42["message","\ud83d\ude00"]"#),
    ("event: half a surrogate pair", r#"42["message","\ud83d"]"#),
    ("event: a raw control character", "42[\"message\",\"a\u{1}b\"]"),
    ("event: an escaped NUL", r#"42["message","\u0000"]"#),
    ("event: a key twice", r#"42["message",{"a":1,"a":2}]"#),
    (
        "event: key __proto__",
        r#"42["message",{"__proto__":{"x":1},"constructor":{"prototype":1}}]"#,
    ),
    ("event: nothing", "42"),
    ("event: an empty array", "42[]"),
    ("event: an object", "42{}"),
    ("event: a string", r#"42"message""#),
    ("event: null", "42null"),
    ("event: name is an object", "42[{}]"),
    ("event: name is an array", "42[[]]"),
    ("event: name is null", "42[null]"),
    ("event: name is a number", "42[1]"),
    ("event: name is true", "42[true]"),
    ("event: name is empty", r#"42["",1]"#),
    (
        "event: name is an object with a toString",
        r#"42[{"toString":"message"},1]"#,
    ),
    ("event: not finished", r#"42["message","#),
    ("event: not finished in a later argument", r#"42["message",{"a":]"#),
    ("event: more after the end", r#"42["message",1]x"#),
    ("event: two arrays", r#"42["message",1]["message",2]"#),
    ("event: trailing comma", r#"42["message",1,]"#),
    ("event: single quotes", "42['message',1]"),
    ("event: NaN", r#"42["message",NaN]"#),
    ("event: unknown", r#"42["nobody-listens",1]"#),
    ("event: __proto__", r#"42["__proto__",1]"#),
    ("event: constructor", r#"42["constructor",1]"#),
    ("event: hasOwnProperty", r#"42["hasOwnProperty",1]"#),
    ("event: reserved connect", r#"42["connect"]"#),
    ("event: reserved connect_error", r#"42["connect_error"]"#),
    ("event: reserved disconnect", r#"42["disconnect"]"#),
    ("event: reserved disconnecting", r#"42["disconnecting"]"#),
    ("event: reserved newListener", r#"42["newListener"]"#),
    ("event: reserved removeListener", r#"42["removeListener"]"#),
    ("event: error", r#"42["error",1]"#),
    (
        "event: a placeholder without attachments",
        r#"42["message",{"_placeholder":true,"num":0}]"#,
    ),
    ("ack: asked for", r#"421["message-with-ack",1,"2"]"#),
    ("ack: asked for, no arguments", r#"421["message-with-ack"]"#),
    ("ack: id 0", r#"420["message-with-ack",1]"#),
    ("ack: id with zeroes", r#"42007["message-with-ack",1]"#),
    ("ack: id 2^53 + 1", r#"429007199254740993["message-with-ack",1]"#),
    ("ack: id 2^63 - 1", r#"429223372036854775807["message-with-ack",1]"#),
    ("ack: id 2^63", r#"429223372036854775808["message-with-ack",1]"#),
    ("ack: id 2^64", r#"4218446744073709551616["message-with-ack",1]"#),
    ("ack: id negative", r#"42-1["message-with-ack",1]"#),
    ("ack: id with a point", r#"421.5["message-with-ack",1]"#),
    ("ack: id with letters", r#"421a["message-with-ack",1]"#),
    ("ack: id, then nothing", "421"),
    ("ack: not asked for", r#"42["message-with-ack",1]"#),
    ("ack: asked of an event that does not ack", r#"421["message",1]"#),
    ("ack: asked of an unknown event", r#"421["nobody-listens"]"#),
    ("ack: answer that nobody asked for", r#"431["x"]"#),
    ("ack: answer without an id", r#"43["x"]"#),
    ("ack: answer with nothing", "43"),
    ("ack: answer with an id alone", "431"),
    ("ack: answer is an object", "431{}"),
    ("ack: answer not finished", "431["),
    ("attachments: none announced", r#"45["message"]"#),
    ("attachments: no count", r#"45-["message"]"#),
    ("attachments: zero", r#"450-["message",1]"#),
    (
        "attachments: zero, with a placeholder",
        r#"450-["message",{"_placeholder":true,"num":0}]"#,
    ),
    ("attachments: eleven", r#"4511-["message"]"#),
    ("attachments: 999,999", r#"45999999-["message"]"#),
    ("attachments: negative", r#"45-1-["message"]"#),
    ("attachments: count with a point", r#"451.5-["message"]"#),
    ("attachments: count alone", "451"),
    ("attachments: count and dash alone", "451-"),
    ("attachments: header nested badly", r#"451-["message",{"#),
    ("attachments: ack that nobody asked for", r#"460-1["x"]"#),
    ("attachments: ack without an id", r#"460-["x"]"#),
    ("connect: again", "40"),
    ("connect: again with a payload", r#"40{"again":true}"#),
    ("connect: custom", "40/custom"),
    ("connect: custom with a payload", r#"40/custom,{"a":1}"#),
    ("connect: unknown", "40/random"),
    ("connect: unknown with a payload", r#"40/random,{"a":1}"#),
    ("connect: unknown, not ASCII", "40/é,"),
    ("connect: unknown with quotes", r#"40/"x"\,"#),
    ("connect: __proto__", "40/__proto__"),
    ("connect: constructor", "40/constructor,{}"),
    ("connect: a query in the namespace", "40/custom?token=1,{}"),
    ("connect: a slash", "40/"),
    ("connect: a slash and a comma", "40/,"),
    ("connect: two slashes", "40//"),
    ("connect: part of a name", "40/cust"),
    ("connect: more than a name", "40/custom/more"),
    ("connect: another case", "40/Custom"),
    ("connect: without a slash", "40custom"),
    (
        "event: to a namespace that is not connected",
        r#"42/custom,["message",1]"#,
    ),
    ("event: to an unknown namespace", r#"42/random,["message",1]"#),
    (
        "event: with an ack, to an unknown namespace",
        r#"42/random,1["message-with-ack",1]"#,
    ),
    ("event: namespace without a comma", r#"42/custom["message",1]"#),
    ("disconnect: a namespace that is not connected", "41/custom"),
    ("disconnect: an unknown namespace", "41/random"),
    ("disconnect: with a payload", r#"41{"a":1}"#),
    ("disconnect: the main namespace", "41"),
    ("type: CONNECT_ERROR", r#"44{"message":"x"}"#),
    ("type: 7", "47"),
    ("type: a letter", "4x"),
    ("type: none", "4"),
    ("type: a space", r#"4 2["message",1]"#),
    ("type: not ASCII", "4é"),
    ("packet: noop between events", "6"),
    ("packet: ping from the client", "2"),
];

/// One packet before any CONNECT.
const UNCONNECTED: &[(&str, &str)] = &[
    ("unconnected: event", r#"42["message",1]"#),
    ("unconnected: event with an ack", r#"421["message-with-ack",1]"#),
    ("unconnected: ack", r#"431["x"]"#),
    ("unconnected: disconnect", "41"),
    (
        "unconnected: attachments announced",
        r#"451-["message",{"_placeholder":true,"num":0}]"#,
    ),
    ("unconnected: connect", "40"),
    ("unconnected: connect with an empty object", "40{}"),
    ("unconnected: connect with spaces", r#"40{ "token" : "x" }"#),
    ("unconnected: connect with null", "40null"),
    ("unconnected: connect with an array", "40[1]"),
    ("unconnected: connect with a string", r#"40"x""#),
    ("unconnected: connect with a number", "401"),
    ("unconnected: connect with broken JSON", r#"40{"a":"#),
    ("unconnected: connect with more after the JSON", r#"40{"a":1}x"#),
    ("unconnected: connect custom", "40/custom,"),
    ("unconnected: connect unknown", "40/random"),
];

/// Several packets, one after the other's answers, to a connection that is connected to the main namespace.
const SEVERAL: &[(&str, &[&str])] = &[
    (
        "several: acks in order",
        &[
            r#"421["message-with-ack",1]"#,
            r#"422["message-with-ack",2]"#,
            r#"423["message-with-ack",3]"#,
        ],
    ),
    (
        "several: the same ack id twice",
        &[r#"421["message-with-ack",1]"#, r#"421["message-with-ack",2]"#],
    ),
    ("several: disconnect, connect again", &["41", "40"]),
    ("several: disconnect twice", &["41", "41"]),
    ("several: disconnect, event", &["41", r#"42["message",1]"#]),
    (
        "several: custom, its event",
        &["40/custom", r#"42/custom,["message",1]"#],
    ),
    (
        "several: custom, its event with an ack",
        &["40/custom", r#"42/custom,7["message-with-ack",1]"#],
    ),
    (
        "several: custom, leave it",
        &["40/custom", "41/custom", r#"42/custom,["message",1]"#],
    ),
    (
        "several: leave main, keep custom",
        &["40/custom", "41", r#"42/custom,["message",1]"#],
    ),
    ("several: CONNECT_ERROR for custom", &["40/custom", "44/custom,{}"]),
    ("several: unknown namespace twice", &["40/random", "40/random"]),
];

/// Payloads of a polling session that is connected to the main namespace.
const POLLING: &[(&str, &str)] = &[
    ("polling: event", r#"42["message",1]"#),
    ("polling: events", "42[\"message\",1]\u{1e}42[\"message\",2]"),
    ("polling: event with an ack", r#"421["message-with-ack",1]"#),
    (
        "polling: attachments",
        "451-[\"message\",{\"_placeholder\":true,\"num\":0}]\u{1e}bAQID",
    ),
    (
        "polling: attachment missing",
        "451-[\"message\",{\"_placeholder\":true,\"num\":0}]\u{1e}42[\"message\",1]",
    ),
    ("polling: attachment of nothing", "bAQID"),
    ("polling: bad JSON", r#"42["message","#),
    ("polling: bad type", "4x"),
    ("polling: unknown namespace", "40/random"),
    ("polling: disconnect", "41"),
];

/// Binary events.
fn attachments() -> Vec<(&'static str, Vec<Vec<u8>>)> {
    let one = |arguments: &str| text(&format!(r#"451-["message",{arguments}]"#));
    let data = || binary(&[1, 2, 3]);
    vec![
        ("attachments: one", vec![one(PLACEHOLDER), data()]),
        ("attachments: an empty one", vec![one(PLACEHOLDER), binary(b"")]),
        (
            "attachments: deep in an object",
            vec![one(&format!(r#"{{"a":[0,{{"b":{PLACEHOLDER}}}]}}"#)), data()],
        ),
        (
            "attachments: in the other order",
            vec![
                text(r#"452-["message",{"_placeholder":true,"num":1},{"_placeholder":true,"num":0}]"#),
                data(),
                binary(&[4]),
            ],
        ),
        (
            "attachments: placeholder out of range",
            vec![one(r#"{"_placeholder":true,"num":5}"#), data()],
        ),
        (
            "attachments: placeholder negative",
            vec![one(r#"{"_placeholder":true,"num":-1}"#), data()],
        ),
        (
            "attachments: placeholder a string",
            vec![one(r#"{"_placeholder":true,"num":"0"}"#), data()],
        ),
        (
            "attachments: placeholder splice",
            vec![one(r#"{"_placeholder":true,"num":"splice"}"#), data()],
        ),
        (
            "attachments: placeholder with a point",
            vec![one(r#"{"_placeholder":true,"num":0.5}"#), data()],
        ),
        (
            "attachments: placeholder without a number",
            vec![one(r#"{"_placeholder":true}"#), data()],
        ),
        (
            "attachments: placeholder false",
            vec![one(r#"{"_placeholder":false,"num":0}"#), data()],
        ),
        (
            "attachments: placeholder twice",
            vec![one(&format!("{PLACEHOLDER},{PLACEHOLDER}")), data()],
        ),
        ("attachments: placeholder missing", vec![one("1"), data()]),
        (
            "attachments: placeholder with its keys turned",
            vec![one(r#"{"num":0,"_placeholder":true}"#), data()],
        ),
        (
            "attachments: ten",
            std::iter::once(text(&format!(
                r#"4510-["message"{}]"#,
                (0..10)
                    .map(|num| format!(r#",{{"_placeholder":true,"num":{num}}}"#))
                    .collect::<String>()
            )))
            .chain((0..10).map(|_| data()))
            .collect(),
        ),
        (
            "attachments: with an ack",
            vec![text(&format!(r#"451-7["message-with-ack",{PLACEHOLDER}]"#)), data()],
        ),
        (
            "attachments: one missing, then text",
            vec![
                text(&format!(r#"452-["message",{PLACEHOLDER}]"#)),
                data(),
                text(r#"42["message",1]"#),
            ],
        ),
        (
            "attachments: one missing",
            vec![text(&format!(r#"452-["message",{PLACEHOLDER}]"#)), data()],
        ),
        ("attachments: one too many", vec![one(PLACEHOLDER), data(), data()]),
        ("attachments: without a header", vec![data()]),
        (
            "attachments: to an unknown event",
            vec![text(&format!(r#"451-["nobody-listens",{PLACEHOLDER}]"#)), data()],
        ),
        (
            "attachments: to an unknown namespace",
            vec![text(&format!(r#"451-/random,["message",{PLACEHOLDER}]"#)), data()],
        ),
        (
            "attachments: of an ack that nobody asked for",
            vec![text(&format!("461-7[{PLACEHOLDER}]")), data()],
        ),
        (
            "attachments: two events in a row",
            vec![one(PLACEHOLDER), data(), one(PLACEHOLDER), data()],
        ),
    ]
}
