// SPDX-License-Identifier: GPL-2.0-or-later
//! What the culling thread promises, on a real folder and a device without a kernel.

mod support;

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;
use std::time::SystemTime;

use cachefiles_core::limits::Percents;
use cachefilesd::cull::Culler;
use cachefilesd::cull::Pass;
use cachefilesd::cull::space::Space;
use cachefilesd::event_log::EventLog;
use cachefilesd::stats::Stats;
use cachefilesd::stop::Stop;
use support::Fake;
use support::FakeDevice;
use support::eventually;

struct Setup {
    folder: tempfile::TempDir,
    fake: Arc<Fake>,
    stats: Arc<Stats>,
    stop: Arc<Stop>,
    /// So many of 100 blocks are free when nothing is culled; each culled thing frees one.
    free: Arc<AtomicU64>,
}

impl Setup {
    fn new(free: u64) -> Setup {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("cache")).unwrap();
        fs::create_dir_all(folder.path().join("graveyard")).unwrap();
        Setup {
            folder,
            fake: Fake::new(),
            stats: Arc::default(),
            stop: Arc::new(Stop::new().unwrap()),
            free: Arc::new(AtomicU64::new(free)),
        }
    }

    fn culler(&self) -> Culler {
        let free = Arc::clone(&self.free);
        let stats = Arc::clone(&self.stats);
        let gauge = move || {
            Ok(Space {
                blocks_free: free.load(SeqCst) + stats.culled.get(),
                blocks: 100,
                files_free: 0,
                files: 0,
            })
        };
        Culler::new(
            Arc::new(FakeDevice(Arc::clone(&self.fake))),
            Arc::new(EventLog::none()),
            Arc::clone(&self.stats),
            Arc::clone(&self.stop),
            self.folder.path().to_owned(),
            Percents::DEFAULT,
            Box::new(gauge),
        )
    }

    /// An object that was used so many hours ago.
    fn object(&self, volume: &str, fan: &str, name: &str, hours: u64) {
        let folder = self.folder.path().join("cache").join(volume).join(fan);
        fs::create_dir_all(&folder).unwrap();
        let file = fs::File::create(folder.join(name)).unwrap();
        let used = SystemTime::now() - Duration::from_secs(hours * 3600);
        file.set_times(fs::FileTimes::new().set_accessed(used))
            .unwrap();
    }

    fn culled(&self) -> Vec<String> {
        self.fake.commands("cull ")
    }

    fn exists(&self, path: &str) -> bool {
        Path::new(&self.folder.path().join(path)).exists()
    }
}

#[test]
fn the_least_recently_used_go_first_until_there_is_enough() {
    let setup = Setup::new(4);
    setup.object("Ierofs,a", "@00", "Done", 3);
    setup.object("Ierofs,b", "@17", "Dtwo", 9);
    setup.object("Ierofs,a", "@ff", "Dthree", 7);
    setup.object("Ierofs,b", "@17", "Dfour", 1);
    setup.object("Ierofs,b", "@18", "Dfive", 8);
    assert_eq!(setup.culler().pass().unwrap(), Pass::Enough);
    // 7 % is where culling ends: three were needed.
    assert_eq!(
        setup.culled(),
        ["cull Dtwo", "cull Dfive", "cull Dthree"][..].to_vec()
    );
    assert!(setup.exists("cache/Ierofs,b/@17/Dfour"));
    assert!(!setup.exists("cache/Ierofs,b/@17/Dtwo"));
}

#[test]
fn what_is_in_use_stays_and_is_not_even_tried() {
    let setup = Setup::new(0);
    setup.object("Iv", "@00", "Dmounted", 9);
    setup.object("Iv", "@00", "Didle", 1);
    setup.fake.use_file("Dmounted");
    setup.fake.use_file("Iv");
    assert_eq!(setup.culler().pass().unwrap(), Pass::Some);
    assert_eq!(setup.culled(), ["cull Didle"]);
    assert!(setup.exists("cache/Iv/@00/Dmounted"));
    assert_eq!(setup.culler().pass().unwrap(), Pass::Nothing);
}

#[test]
fn a_volume_without_objects_goes_with_its_folders_when_objects_are_not_enough() {
    let setup = Setup::new(0);
    setup.object("Iempty", "@00", "Dlast", 2);
    setup.object("Iused", "@01", "Dmounted", 1);
    fs::create_dir_all(setup.folder.path().join("cache/Iempty/@5a")).unwrap();
    fs::create_dir_all(setup.folder.path().join("graveyard/00000001/@00")).unwrap();
    fs::write(setup.folder.path().join("graveyard/00000002"), "x").unwrap();
    fs::create_dir_all(setup.folder.path().join("cache/not-a-volume")).unwrap();
    setup.fake.use_file("Dmounted");
    assert_eq!(setup.culler().pass().unwrap(), Pass::Some);
    assert_eq!(setup.culled(), ["cull Dlast", "cull Iempty"]);
    assert!(setup.exists("cache/Iused/@01/Dmounted"));
    assert!(setup.exists("cache/not-a-volume"));
    assert!(!setup.exists("graveyard/00000001") && !setup.exists("graveyard/00000002"));
}

#[test]
fn a_pass_with_enough_room_touches_nothing() {
    let setup = Setup::new(7);
    setup.object("Iv", "@00", "Da", 2);
    assert_eq!(setup.culler().pass().unwrap(), Pass::Enough);
    assert_eq!(setup.fake.commands(""), Vec::<String>::new());
}

#[test]
fn nothing_to_cull_makes_it_wait_and_a_close_makes_it_look_again() {
    let setup = Setup::new(0);
    setup.object("Iv", "@00", "Dmounted", 2);
    setup.fake.use_file("Dmounted");
    setup.fake.use_file("Iv");
    setup.fake.want_culling(true);
    let culler = setup.culler();
    let thread = std::thread::spawn(move || culler.run());
    std::thread::sleep(Duration::from_millis(1200));
    let looks = setup.fake.commands("inuse Dmounted").len();
    assert!((1..=4).contains(&looks), "{looks} looks in 1.2 s");
    assert_eq!(setup.culled(), Vec::<String>::new());

    setup.fake.release_file("Dmounted");
    setup.stop.rouse();
    eventually("it is culled", || setup.culled() == ["cull Dmounted"]);
    setup.stop.request();
    assert_eq!(thread.join().unwrap(), None);
}

#[test]
fn a_dead_cache_ends_the_thread_with_a_reason() {
    let setup = Setup::new(0);
    setup.object("Iv", "@00", "Da", 2);
    setup.fake.want_culling(true);
    setup.fake.die();
    let why = setup.culler().run();
    assert!(why.is_some_and(|why| why.contains("EIO")));
    assert!(setup.exists("cache/Iv/@00/Da"));
}
