//! A single process on a disk that can be filled: a small file system in memory, in a mount namespace of the process's own. Nobody else sees
//! it, and it ends with the process. It needs `unshare`, and either root or user namespaces.

use super::stage::free_port;
use e2e::world::{Cluster, PATIENCE, Service};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Bytes of the disk. At rest the process takes far less than a tenth of them: journals of its store look like 64 MiB, but are holes.
const DISK_BYTES: u64 = 64 << 20;
/// One byte of so many stays free: less than the tenth that the alert asks for, and enough for the process to go on.
const FREE_SHARE: u64 = 20;
/// What `unshare` is asked for, as root and as anybody else.
const NAMESPACES: [&[&str]; 2] = [&["--mount"], &["--mount", "--user", "--map-root-user"]];

/// The process, by the name of `disk`.
pub(crate) struct SmallDisk {
    pub(crate) service: Service,
    /// Where the disk is mounted, for the process.
    folder: PathBuf,
}

impl SmallDisk {
    /// Starts `tidemark run` on such a disk.
    pub(crate) fn start(world: &Cluster) -> Self {
        let folder = world.path("disk");
        std::fs::create_dir_all(&folder).unwrap();
        // A link on the way would lead out of the namespace.
        let folder = folder.canonicalize().unwrap();
        let (listen, admin) = (free_port(), free_port());
        let mut role = world.role("disk", "run");
        role.args.push(format!("--listen={listen}"));
        role.args.push(format!("--admin-listen={admin}"));
        role.admin = Some(admin);
        role.wrapper = wrapper(&folder);
        let service = Service::start(role).unwrap();
        Self { service, folder }
    }

    /// Fills the disk, but for a twentieth.
    pub(crate) fn fill(&self) {
        let metric = |name: &str| self.service.metric(name).unwrap();
        let size = metric("tidemark_data_size_bytes");
        assert_eq!(size, DISK_BYTES, "the disk of the process is another");
        let bytes = metric("tidemark_data_free_bytes") - size / FREE_SHARE;
        std::fs::write(self.ballast(), vec![0_u8; bytes as usize]).unwrap();
    }

    /// Makes room again.
    pub(crate) fn empty(&self) {
        std::fs::remove_file(self.ballast()).unwrap();
    }

    /// Stops the process; it must end with 0.
    pub(crate) fn stop(self) {
        self.service.process.stop(PATIENCE).unwrap();
    }

    /// A file on the disk, as who is outside of the namespace finds it.
    fn ballast(&self) -> PathBuf {
        let pid = self.service.process.pid();
        format!("/proc/{pid}/root{}/ballast", self.folder.display()).into()
    }
}

/// Mounts a disk on this folder and becomes the program behind it.
fn wrapper(folder: &Path) -> Vec<String> {
    let script = format!("mount -t tmpfs -o size={DISK_BYTES} tmpfs \"$0\" && exec \"$@\"");
    let folder = folder.display().to_string();
    let wrappers = NAMESPACES.map(|namespaces| {
        let shell = ["sh", "-c", script.as_str(), folder.as_str()];
        let words = ["unshare"]
            .into_iter()
            .chain(namespaces.iter().copied())
            .chain(shell);
        words.map(str::to_owned).collect::<Vec<String>>()
    });
    let works = |words: &Vec<String>| {
        let mut command = Command::new(&words[0]);
        let output = command.args(&words[1..]).arg("true").output().unwrap();
        output.status.success()
    };
    let found = wrappers.into_iter().find(works);
    found.expect("a disk can be mounted: `unshare` is there, and the right to use it, or user namespaces")
}
