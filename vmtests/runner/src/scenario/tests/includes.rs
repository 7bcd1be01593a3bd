// SPDX-License-Identifier: GPL-2.0-or-later
//! Pieces: how they are included, and how mistakes in them are shown.

use std::fs;

use vmtest_protocol::Action;

use super::super::*;

struct Folder(tempfile::TempDir);

impl Folder {
    fn new(pieces: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("pieces")).unwrap();
        for (name, text) in pieces {
            fs::write(dir.path().join("pieces").join(name), text).unwrap();
        }
        Folder(dir)
    }

    fn load(&self, steps: &str) -> Loaded {
        let text = format!(
            "name: a\nabout: x\nneeds: {{images: [small], disks: [{{name: cache, size: 64MiB}}]}}\n\
             steps:\n{steps}"
        );
        let file = self.0.path().join("a.yaml");
        fs::write(&file, text).unwrap();
        load_file(&file, &Overrides::default(), None)
    }

    fn wrong(&self, steps: &str) -> Vec<String> {
        let wrong = self.load(steps).wrong;
        let here = format!("{}/", self.0.path().display());
        wrong
            .iter()
            .map(|one| one.to_string().replace(&here, ""))
            .collect()
    }

    fn piece(&self, name: &str) -> Vec<String> {
        let wrong = parse_piece(&self.0.path().join("pieces").join(name));
        let here = format!("{}/", self.0.path().display());
        wrong
            .iter()
            .map(|one| one.to_string().replace(&here, ""))
            .collect()
    }
}

const BIND: &str = "about: Binds.\nparams: {dir: /cache, tag: none}\nsteps:\n  \
    - puppet: {actions: [{open: {}}, {command: {text: 'dir ${dir}'}}]}\n  \
    - sleep: {for: 1s}\n    timeout: 2m\n";

#[test]
fn a_piece_becomes_a_group_with_its_parameters_as_variables() {
    let folder = Folder::new(&[("bind.yaml", BIND)]);
    let loaded = folder.load("  - include: {file: pieces/bind.yaml, with: {dir: /other}}\n");
    assert!(loaded.wrong.is_empty(), "{:?}", loaded.wrong);
    let step = &loaded.cases[0].steps[0];
    assert_eq!(step.title(), "bind");
    // The sum of what its steps may take.
    assert_eq!(step.limit().unwrap().as_secs(), 180);
    let Action::Group(group) = &step.action else {
        panic!("{step:?}");
    };
    assert_eq!(group.steps.len(), 2);
    let text = |name: &str| text_of(&group.vars[name]);
    assert_eq!(
        (text("dir").as_str(), text("tag").as_str()),
        ("/other", "none")
    );
    let named =
        folder.load("  - include: {file: pieces/bind.yaml}\n    name: mine\n    timeout: 5m\n");
    let step = &named.cases[0].steps[0];
    assert_eq!(
        (step.title(), step.limit().unwrap().as_secs()),
        ("mine", 300)
    );
}

#[test]
fn pieces_may_include_pieces_beside_them_and_stand_inside_other_steps() {
    let outer = "about: x\nparams: {n: 1}\nsteps:\n  \
        - include: {file: bind.yaml, with: {dir: '/cache/${n}'}}\n";
    let folder = Folder::new(&[("bind.yaml", BIND), ("outer.yaml", outer)]);
    let loaded = folder.load(
        "  - repeat:\n      var: i\n      to: 2\n      steps:\n        \
         - include: {file: pieces/outer.yaml, with: {n: '${i}'}}\n    timeout: 10m\n  \
         - parallel:\n      branches:\n        - {name: l, steps: [{include: {file: pieces/bind.yaml}}]}\n        \
         - {name: r, steps: [{drop_caches: {}}]}\n    timeout: 5m\n",
    );
    assert!(loaded.wrong.is_empty(), "{:?}", loaded.wrong);
    assert!(folder.piece("outer.yaml").is_empty());
}

#[test]
fn a_mistake_in_a_piece_is_shown_there_with_where_it_is_included_from() {
    let broken = BIND.replace("sleep", "slep");
    let folder = Folder::new(&[("bind.yaml", &broken)]);
    let wrong = folder.wrong("  - drop_caches: {}\n  - include: {file: pieces/bind.yaml}\n");
    assert_eq!(wrong.len(), 1, "{wrong:#?}");
    assert!(
        wrong[0].starts_with("pieces/bind.yaml:5:5: unknown key `slep`"),
        "{}",
        wrong[0]
    );
    assert!(wrong[0].contains("did you mean `sleep`?"), "{}", wrong[0]);
    assert!(
        wrong[0].contains("included from a.yaml:6:21"),
        "{}",
        wrong[0]
    );
    // The same by itself, and twice included is still one mistake.
    assert_eq!(folder.piece("bind.yaml").len(), 1);
    let twice = "  - include: {file: pieces/bind.yaml}\n".repeat(2);
    assert_eq!(folder.wrong(&twice).len(), 1);
}

#[test]
fn a_piece_sees_only_its_own_parameters() {
    let piece = "about: x\nparams: {dir: /cache}\nsteps:\n  - make_dir: {path: '${dri}/${i}'}\n";
    let folder = Folder::new(&[("p.yaml", piece)]);
    let wrong =
        folder.wrong("  - repeat: {var: i, to: 2, steps: [{include: {file: pieces/p.yaml}}]}\n");
    assert!(wrong[0].contains("no variable `dri`"), "{wrong:#?}");
    assert!(wrong[0].contains("did you mean `dir`?"), "{wrong:#?}");
    let outer = piece.replace("${dri}", "${dir}");
    let folder = Folder::new(&[("p.yaml", &outer)]);
    let wrong =
        folder.wrong("  - repeat: {var: i, to: 2, steps: [{include: {file: pieces/p.yaml}}]}\n");
    assert!(wrong[0].contains("no variable `i`"), "{wrong:#?}");
}

#[test]
fn an_include_that_cannot_be_is_refused_with_what_would_be_right() {
    let cycle = "about: x\nsteps:\n  - include: {file: cycle.yaml}\n";
    let indirect = "about: x\nsteps:\n  - include: {file: back.yaml}\n";
    let back = "about: x\nsteps:\n  - include: {file: indirect.yaml}\n";
    let folder = Folder::new(&[
        ("bind.yaml", BIND),
        ("cycle.yaml", cycle),
        ("indirect.yaml", indirect),
        ("back.yaml", back),
        ("empty.yaml", "about: x\nsteps: []\n"),
        ("list.yaml", "- 1\n"),
        ("nothing.yaml", ""),
        ("keys.yaml", "abuot: x\nsteps:\n  - drop_caches: {}\n"),
    ]);
    for (fields, expected) in [
        (
            "{file: pieces/bnd.yaml}",
            "did you mean `pieces/bind.yaml`?",
        ),
        ("{file: /etc/passwd}", "as seen from this file"),
        ("{file: 'pieces/${n}.yaml'}", "as seen from this file"),
        ("{file: pieces/cycle.yaml}", "includes itself"),
        ("{file: pieces/indirect.yaml}", "includes itself"),
        (
            "{file: pieces/bind.yaml, with: {dri: /x}}",
            "did you mean `dir`?",
        ),
        (
            "{file: pieces/bind.yaml, wit: {dir: /x}}",
            "did you mean `with`?",
        ),
        (
            "{with: {dir: /x}}",
            "the key `file` is missing in `include`",
        ),
        ("{file: pieces/empty.yaml}", "a piece without steps"),
        (
            "{file: pieces/list.yaml}",
            "pieces/list.yaml:1:1: here stands a list",
        ),
        ("{file: pieces/nothing.yaml}", "the file is empty"),
        ("{file: pieces/keys.yaml}", "did you mean `about`?"),
        ("", "here stands nothing"),
    ] {
        let wrong = folder.wrong(&format!("  - include: {fields}\n"));
        assert_eq!(wrong.len(), 1, "{fields}: {wrong:#?}");
        assert!(wrong[0].contains(expected), "{fields}: {}", wrong[0]);
    }
}

#[test]
fn pieces_that_include_each_other_without_end_or_too_often_end() {
    // Each piece includes the next one ten times: 10^20 steps without a limit.
    let pieces: Vec<(String, String)> = (0..20)
        .map(|n| {
            let next = format!("  - include: {{file: p{}.yaml}}\n", n + 1);
            (
                format!("p{n}.yaml"),
                format!("about: x\nsteps:\n{}", next.repeat(10)),
            )
        })
        .collect();
    let pieces: Vec<(&str, &str)> = pieces
        .iter()
        .map(|(n, t)| (n.as_str(), t.as_str()))
        .collect();
    let folder = Folder::new(&pieces);
    let began = std::time::Instant::now();
    let wrong = folder.wrong("  - include: {file: pieces/p0.yaml}\n");
    assert!(!wrong.is_empty());
    assert!(began.elapsed().as_secs() < 20, "{:?}", began.elapsed());
}

#[test]
fn an_image_in_a_piece_is_checked_with_the_value_it_is_given() {
    let piece =
        "about: x\nparams: {image: small}\nsteps:\n  - mount: {image: '${image}', at: /m}\n";
    let folder = Folder::new(&[("m.yaml", piece)]);
    assert!(
        folder
            .wrong("  - include: {file: pieces/m.yaml}\n")
            .is_empty()
    );
    let wrong = folder.wrong("  - include: {file: pieces/m.yaml, with: {image: smal}}\n");
    assert!(wrong[0].contains("the image `smal`"), "{wrong:#?}");
    assert!(wrong[0].contains("did you mean `small`?"), "{wrong:#?}");
}
