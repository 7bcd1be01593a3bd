// SPDX-License-Identifier: GPL-2.0-or-later
//! Frames: what goes in comes out, and what is no frame is an error that shows it.

use std::io::Cursor;

use vmtest_protocol::FromAgent;
use vmtest_protocol::ToAgent;
use vmtest_protocol::frame;
use vmtest_protocol::frame::FrameError;
use vmtest_protocol::frame::Splitter;
use vmtest_protocol::message::Data;
use vmtest_protocol::message::Exit;
use vmtest_protocol::message::Measurement;
use vmtest_protocol::message::Outcome;
use vmtest_protocol::message::Setup;

fn samples() -> Vec<FromAgent> {
    vec![
        FromAgent::Pong { seq: 7 },
        FromAgent::CountInstructions { seq: 8 },
        FromAgent::StepEnded {
            id: 3,
            outcome: Outcome::Failed {
                reason: "digest \"x\" \u{1F980} differs\n".to_owned(),
            },
            exit: Some(Exit::Signal(9)),
            seconds: 1.25,
            measurements: vec![Measurement {
                name: "mount.seconds".to_owned(),
                value: 0.5,
                unit: "s".to_owned(),
            }],
        },
    ]
}

#[test]
fn messages_survive_the_way() {
    let mut bytes = Vec::new();
    for message in samples() {
        frame::write(&mut bytes, &message).unwrap();
    }
    let mut stream = Cursor::new(bytes);
    for message in samples() {
        assert_eq!(frame::read::<FromAgent>(&mut stream).unwrap(), message);
    }
    let end = frame::read::<FromAgent>(&mut stream).unwrap_err();
    assert!(matches!(end, FrameError::Closed), "{end}");
}

#[test]
fn messages_are_put_together_from_any_portions() {
    let mut bytes = Vec::new();
    for message in samples() {
        bytes.extend(frame::encode(&message).unwrap());
    }
    for portion in [1, 3, 7, bytes.len()] {
        let mut splitter = Splitter::default();
        let mut found = Vec::new();
        for part in bytes.chunks(portion) {
            splitter.push(part);
            while let Some(message) = splitter.next_message::<FromAgent>().unwrap() {
                found.push(message);
            }
        }
        assert_eq!(found, samples(), "in portions of {portion}");
    }
}

#[test]
fn text_on_the_port_is_an_error_that_shows_the_text() {
    let mut stream = Cursor::new(b"Linux version 6.12".to_vec());
    let error = frame::read::<FromAgent>(&mut stream).unwrap_err();
    assert!(matches!(error, FrameError::TooLong { .. }));
    assert!(error.to_string().contains("Linu"), "{error}");
}

#[test]
fn a_frame_that_is_no_message_is_an_error_that_shows_it() {
    let mut bytes = 9u32.to_le_bytes().to_vec();
    bytes.extend_from_slice(b"{\"nope\":1");
    let error = frame::read::<ToAgent>(&mut Cursor::new(bytes)).unwrap_err();
    assert!(error.to_string().contains("nope"), "{error}");
}

#[test]
fn a_stream_that_ends_inside_a_frame_says_where() {
    let mut bytes = frame::encode(&ToAgent::Ping { seq: 1 }).unwrap();
    bytes.pop();
    let want = bytes.len() - 3;
    let error = frame::read::<ToAgent>(&mut Cursor::new(bytes)).unwrap_err();
    let FrameError::Truncated {
        got,
        want: announced,
    } = error
    else {
        panic!("{error}");
    };
    assert_eq!((got, announced), (want - 1, want));
}

#[test]
fn an_oversized_message_is_not_sent() {
    let text = "x".repeat(frame::MAX_FRAME);
    let error = frame::encode(&FromAgent::Notice { text }).unwrap_err();
    assert!(matches!(error, FrameError::TooLong { .. }), "{error}");
}

#[test]
fn bytes_that_are_no_text_survive_the_way() {
    let message = FromAgent::ShellOutput {
        id: 1,
        data: Data((0..=255).collect()),
    };
    let bytes = frame::encode(&message).unwrap();
    assert_eq!(
        frame::read::<FromAgent>(&mut bytes.as_slice()).unwrap(),
        message
    );
    let odd = br#"{"shell_output":{"id":1,"data":"abc"}}"#;
    let error = serde_json::from_slice::<FromAgent>(odd).unwrap_err();
    assert!(error.to_string().contains("hexadecimal"), "{error}");
}

#[test]
fn a_setup_loads_and_mounts_unless_told_otherwise() {
    let setup: Setup = serde_json::from_str(
        r#"{"modules":[{"path":"/a.ko"}],"disks":[{"serial":"d","at":"/d","fs":"ext2"}]}"#,
    )
    .unwrap();
    assert!(setup.modules[0].load && setup.disks[0].mount);
    assert_eq!(setup.boot, 0);
}
