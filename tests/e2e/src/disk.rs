//! File systems of a test's own, to fill and to cut off. They need root; where a machine does not let us, a test says so.

use crate::Folder;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// A mounted file system; unmounted when dropped, after its processes are gone.
#[derive(Debug)]
pub struct Disk {
    path: PathBuf,
}

fn run(program: &str, arguments: &[&str]) -> Result<(), String> {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output();
    match output {
        Ok(Output { status, .. }) if status.success() => Ok(()),
        Ok(Output { stderr, .. }) => {
            Err(format!("{program} {arguments:?}: {}", String::from_utf8_lossy(&stderr)))
        }
        Err(error) => Err(format!("{program}: {error}")),
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

impl Disk {
    /// Of `megabytes` in memory, at `folder/name`.
    pub fn small(folder: &Folder, name: &str, megabytes: u32) -> Result<Self, String> {
        let size = format!("size={megabytes}m");
        Self::mount(folder, name, &["-t", "tmpfs", "-o", &size, "tmpfs"])
    }

    /// An ext4 file system in a file of `megabytes`, at `folder/name`. What is not synced stays in memory for minutes.
    pub fn image(
        folder: &Folder,
        name: &str,
        image: &Path,
        megabytes: u32,
    ) -> Result<Self, String> {
        let size = format!("{megabytes}M");
        run("truncate", &["-s", &size, text(image)])?;
        run("mkfs.ext4", &["-q", "-E", "lazy_itable_init=0,lazy_journal_init=0", text(image)])?;
        Self::of_image(folder, name, image)
    }

    /// The file system of an image that was made before.
    pub fn of_image(folder: &Folder, name: &str, image: &Path) -> Result<Self, String> {
        Self::mount(folder, name, &["-o", "loop,commit=300", text(image)])
    }

    fn mount(folder: &Folder, name: &str, arguments: &[&str]) -> Result<Self, String> {
        let path = folder.path().join(name);
        fs::create_dir_all(&path).expect("a folder");
        run("mount", &[arguments, &[text(&path)]].concat())?;
        Ok(Self { path })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a file until nothing more fits but about `left` bytes.
    pub fn fill(&self, left: usize) {
        use std::io::Write;
        let path = self.path.join("ballast");
        let mut file = fs::File::create(&path).expect("a file");
        let piece = vec![0x55; 4096];
        while file.write_all(&piece).is_ok() {}
        let length = file.metadata().expect("a file").len();
        file.set_len(length.saturating_sub(left as u64)).expect("it can be cut");
    }

    pub fn clear(&self) {
        fs::remove_file(self.path.join("ballast")).expect("it was filled");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // A failed test has left a process on it.
        if let Err(why) = run("umount", &[text(&self.path)]) {
            eprintln!("{why}");
            if let Err(why) = run("umount", &["-l", text(&self.path)]) {
                eprintln!("{why}");
            }
        }
    }
}
