use super::*;
use crate::leaves::tests::{Followed, random_log};
use annex_devl1::{DevL1, DevL1Config};
use tokio::time::{Duration, sleep};

/// Most that anything may take here.
const PATIENCE: Duration = Duration::from_secs(60);

/// A step that takes some strides in the machine and reads no blob, and its whole run.
fn long_step(followed: &Followed, program: &Program) -> (B256, Run, u64) {
    let leaves = followed.knowledge();
    for (index, leaf) in (0..).zip(&followed.leaves[..followed.leaves.len() - 1]) {
        if leaves.blobs_of(index).expect("a leaf").is_some() {
            continue;
        }
        let claim = followed.claim(index).expect("a claim");
        let mut job = RunJob::new(program, claim.input.hash());
        while !job.advance(&claim.preimages, 1).expect("nothing is missing") {}
        let steps = job.steps();
        if steps > 5 << STRIDE_HEIGHT {
            let run = job.finish().unwrap_or_else(|_| panic!("it is complete"));
            return (*leaf, run, steps);
        }
    }
    panic!("no step is long enough");
}

/// Instructions in the only run that is kept in the folder.
fn kept_steps(dir: &Path) -> u64 {
    let Ok(files) = fs::read_dir(dir) else { return 0 };
    let runs: Vec<_> = files
        .map(|file| file.expect("an entry").path())
        .filter(|file| file.extension().is_none())
        .collect();
    let [run] = &runs[..] else { return 0 };
    RunJob::restore(&fs::read(run).expect("a file")).expect("written as a whole").steps()
}

async fn until<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(start.elapsed() < PATIENCE, "{what}");
        sleep(Duration::from_millis(1)).await;
    }
}

/// Each process ends as soon as it has begun to compute, and leaves what it has: the next one goes on from there.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_was_interrupted_is_not_begun_again() {
    let followed = random_log(600, 8, false);
    let program = Arc::new(Program::from_elf(annex_claim::PROGRAM).expect("a program"));
    let (leaf, whole, steps) = long_step(&followed, &program);
    let dir = tempfile::tempdir().expect("temp dir");
    let l1 = DevL1::start(DevL1Config::new(dir.path().join("l1"))).await.expect("an L1");
    let client = L1Client::connect(&l1.url(), &[]).await.expect("answers");
    let disputes = dir.path().join("disputes");
    let started = || {
        let (leaves, program) = (followed.knowledge(), program.clone());
        let mut computer = Computer::new(client.clone(), leaves, program, disputes.clone());
        computer.start(Need::Run { leaf });
        computer
    };

    let mut reached = 0;
    for process in 1..=3 {
        drop(started());
        let what = format!("process {process} is not beyond {reached} instructions");
        reached = until(&what, || Some(kept_steps(&disputes)).filter(|kept| *kept > reached)).await;
        println!("process {process}: {reached} of {steps} instructions");
        assert!(reached < steps, "it was interrupted");
    }

    // The last one is left to its end. It knows from the start what the others have done.
    let mut computer = started();
    let begun = until("it computes", || match computer.current() {
        Some(running) => Some(running.steps).filter(|steps| *steps > 0),
        None => panic!("it is over"),
    });
    assert!(begun.await >= reached);
    let (need, answer) = computer.done().await;
    assert_eq!(need, Need::Run { leaf });
    let Ok(Answer::Run(run)) = answer else { panic!("no run") };
    assert_eq!((run.tree.root(), &run.last), (whole.tree.root(), &whole.last));

    // What a full disk or a crash left of a file is no obstacle: then it is begun again.
    let file = fs::read_dir(&disputes).expect("a folder").next().expect("a run").expect("a file");
    let bytes = fs::read(file.path()).expect("a file");
    fs::write(file.path(), &bytes[..bytes.len() / 2]).expect("written");
    let (_, answer) = started().done().await;
    let Ok(Answer::Run(run)) = answer else { panic!("no run") };
    assert_eq!(run.tree.root(), whole.tree.root());
    l1.stop().await;
}
