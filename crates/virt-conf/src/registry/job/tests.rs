use super::*;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

fn lane(wait_ms: u64, waiters: usize) -> Arc<JobLane> {
    let limits = LaneLimits {
        wait: Duration::from_millis(wait_ms),
        waiters,
    };
    JobLane::with(limits, Arc::new(SystemClock), None)
}

fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Deadline::after(Duration::from_secs(10));
    while !condition() {
        assert!(!deadline.has_passed(), "never: {what}");
        thread::yield_now();
    }
}

fn refused(result: Result<JobGuard>) -> VirtError {
    result.expect_err("begins although it must not")
}

#[test]
fn a_second_job_waits_and_is_told_who_holds_the_lane() {
    let lane = lane(20, 32);
    let _first = lane.begin(Job::Modify, &Asker::new("virDomainSuspend")).unwrap();
    let error = refused(lane.begin(Job::Query, &Asker::new("virDomainGetInfo")));
    assert_eq!(error.code(), ErrorCode::OPERATION_TIMEOUT);
    assert!(
        error
            .message()
            .ends_with("cannot acquire state change lock (held by monitor=virDomainSuspend)"),
        "{error}"
    );
    assert!(format!("{error:#}").contains("virDomainSuspend has done 'modify' for 0 s"));
}

#[test]
fn the_callers_deadline_and_cancel_end_the_wait() {
    let lane = lane(60_000, 32);
    let _first = lane.begin(Job::Modify, &Asker::new("a")).unwrap();
    assert_eq!(
        refused(lane.begin(Job::Query, &Asker::at_once("b"))).code(),
        ErrorCode::OPERATION_TIMEOUT
    );
    let cancel = Cancel::new();
    let asker = Asker {
        cancel: cancel.clone(),
        ..Asker::new("c")
    };
    thread::scope(|scope| {
        let waiting = scope.spawn(|| lane.begin(Job::Query, &asker));
        until("somebody waits", || lane.info().waiters == 1);
        cancel.set();
        assert_eq!(
            refused(waiting.join().unwrap()).code(),
            ErrorCode::OPERATION_ABORTED
        );
    });
    assert_eq!(lane.info().waiters, 0);
}

#[test]
fn too_many_waiters_are_told_at_once() {
    let lane = lane(60_000, 2);
    let first = lane.begin(Job::Modify, &Asker::new("virDomainCreate")).unwrap();
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| lane.begin(Job::Query, &Asker::new("q")).map(drop));
        }
        until("two wait", || lane.info().waiters == 2);
        let error = refused(lane.begin(Job::Query, &Asker::new("q")));
        assert_eq!(error.code(), ErrorCode::OPERATION_FAILED);
        assert!(
            error
                .message()
                .contains("(held by monitor=virDomainCreate) due to max_queued limit")
        );
        // Destroy may always wait, and goes first.
        let destroy = scope.spawn(|| lane.begin(Job::Destroy, &Asker::new("d")).unwrap());
        until("three wait", || lane.info().waiters == 3);
        drop(first);
        let destroy = destroy.join().unwrap();
        assert_eq!(lane.info().job.map(|held| held.job), Some(Job::Destroy));
        drop(destroy);
    });
    assert!(lane.info().job.is_none());
}

#[test]
fn agent_jobs_run_beside_jobs() {
    let lane = lane(10, 32);
    let _agent = lane
        .begin_agent(AgentJob::Query, &Asker::new("virDomainFSFreeze"))
        .unwrap();
    let job = lane.begin(Job::Modify, &Asker::new("x")).unwrap();
    drop(job);
    let error = refused(lane.begin_both(Job::Modify, AgentJob::Modify, &Asker::new("y")));
    assert!(
        error.message().contains("(held by agent=virDomainFSFreeze)"),
        "{error}"
    );
    let _job = lane.begin(Job::Modify, &Asker::new("z")).unwrap();
    let error = refused(lane.begin_both(Job::Modify, AgentJob::Modify, &Asker::new("y")));
    assert!(
        error
            .message()
            .contains("(held by monitor=z agent=virDomainFSFreeze)"),
        "{error}"
    );
}

#[test]
fn an_async_job_lets_in_what_its_mask_says() {
    let lane = lane(10, 32);
    let migration = lane
        .begin_async(AsyncJob::MigrationOut, &Asker::new("virDomainMigrate"))
        .unwrap();
    for job in [Job::Query, Job::Destroy, Job::Abort] {
        drop(lane.begin(job, &Asker::new("x")).unwrap());
    }
    let error = refused(lane.begin(Job::Modify, &Asker::new("x")));
    assert!(
        error.message().contains("(held by monitor=virDomainMigrate)"),
        "{error}"
    );
    assert!(lane.begin_async(AsyncJob::Save, &Asker::new("x")).is_err());
    migration.set_mask(JobMask::default() | JobMask::SUSPEND);
    drop(lane.begin(Job::Suspend, &Asker::new("x")).unwrap());
    let nested = migration.nested(&Asker::new("virDomainMigrate")).unwrap();
    assert!(lane.begin(Job::Query, &Asker::new("x")).is_err());
    drop(nested);
    assert_eq!(lane.request_abort().unwrap(), AsyncJob::MigrationOut);
    assert!(migration.abort().is_set());
    drop(migration);
    drop(lane.begin(Job::Modify, &Asker::new("x")).unwrap());
    assert_eq!(
        lane.request_abort().unwrap_err().code(),
        ErrorCode::OPERATION_INVALID
    );
}

#[test]
fn an_async_job_lives_between_calls_and_dies_with_its_connection() {
    let lane = lane(10, 32);
    let (mine, other) = (ConnectionId(1), ConnectionId(2));
    let job = lane
        .begin_async(AsyncJob::MigrationOut, &Asker::new("begin"))
        .unwrap();
    job.set_owner(Some(mine));
    job.set_phase(3);
    job.leave().unwrap();
    assert!(
        lane.resume_async(AsyncJob::MigrationOut, other, "perform")
            .is_err()
    );
    assert!(lane.resume_async(AsyncJob::Save, mine, "perform").is_err());
    let job = lane
        .resume_async(AsyncJob::MigrationOut, mine, "perform")
        .unwrap();
    assert!(
        lane.resume_async(AsyncJob::MigrationOut, mine, "perform")
            .is_err()
    );
    assert_eq!(lane.info().async_job.unwrap().phase, 3);
    // The connection closes while a call works: that call rolls back.
    assert!(lane.connection_closed(other).is_none());
    assert!(lane.connection_closed(mine).is_none());
    let job = job.leave().expect_err("the owner is gone");
    drop(job);
    assert!(lane.info().async_job.is_none());
    // The connection closes between calls: who closes it rolls back.
    let job = lane
        .begin_async(AsyncJob::MigrationIn, &Asker::new("prepare"))
        .unwrap();
    job.set_owner(Some(mine));
    job.leave().unwrap();
    drop(lane.connection_closed(mine).unwrap());
    assert!(lane.info().async_job.is_none());
}

#[test]
fn in_doubt_only_abort_and_destroy_get_through() {
    let lane = lane(10, 32);
    let job = lane
        .begin(Job::Modify, &Asker::new("virDomainAttachDevice"))
        .unwrap();
    let reconciler = job.into_doubt("'device_add' was not answered");
    for job in [Job::Query, Job::Modify] {
        let error = refused(lane.begin(job, &Asker::new("x")));
        assert!(
            error.message().contains("held by monitor=virDomainAttachDevice"),
            "{error}"
        );
    }
    assert!(lane.begin_agent(AgentJob::Query, &Asker::new("x")).is_err());
    drop(lane.begin(Job::Abort, &Asker::new("x")).unwrap());
    drop(reconciler);
    let reconciler = lane.reconciler().unwrap();
    assert!(lane.reconciler().is_none());
    reconciler.resolve();
    assert!(lane.info().doubt.is_none());

    let reconciler = lane
        .begin(Job::Modify, &Asker::new("a"))
        .unwrap()
        .into_doubt("silence");
    let destroy = lane.begin(Job::Destroy, &Asker::new("virDomainDestroy")).unwrap();
    destroy.settle_doubt();
    drop(destroy);
    drop(lane.begin(Job::Modify, &Asker::new("b")).unwrap());
    drop(reconciler);
}

#[test]
fn a_late_reconciler_does_not_end_somebody_elses_job() {
    let lane = lane(10, 32);
    let reconciler = lane
        .begin(Job::Modify, &Asker::new("a"))
        .unwrap()
        .into_doubt("silence");
    let destroy = lane.begin(Job::Destroy, &Asker::new("virDomainDestroy")).unwrap();
    destroy.settle_doubt();
    drop(destroy);
    let job = lane.begin(Job::Modify, &Asker::new("b")).unwrap();
    reconciler.resolve();
    assert!(lane.begin(Job::Modify, &Asker::at_once("c")).is_err());
    drop(job);
}

#[test]
fn a_panic_in_a_change_leaves_the_domain_in_doubt() {
    let told = Arc::new(AtomicUsize::new(0));
    let hook = Arc::clone(&told);
    let limits = LaneLimits {
        wait: Duration::from_millis(10),
        waiters: 32,
    };
    let lane = JobLane::with(
        limits,
        Arc::new(SystemClock),
        Some(Box::new(move |_| {
            hook.fetch_add(1, Ordering::Relaxed);
        })),
    );
    let in_thread = Arc::clone(&lane);
    let panicked = thread::spawn(move || {
        let _job = in_thread.begin(Job::Modify, &Asker::new("x")).unwrap();
        std::panic::resume_unwind(Box::new("on purpose"));
    })
    .join();
    assert!(panicked.is_err());
    assert_eq!(told.load(Ordering::Relaxed), 1);
    assert!(lane.begin(Job::Modify, &Asker::new("y")).is_err());
    lane.reconciler().unwrap().resolve();
    drop(lane.begin(Job::Modify, &Asker::new("y")).unwrap());
}

#[test]
fn a_removed_object_tells_all_who_wait() {
    let lane = lane(60_000, 32);
    let job = lane.begin(Job::Modify, &Asker::new("x")).unwrap();
    thread::scope(|scope| {
        let waiting = scope.spawn(|| lane.begin(Job::Query, &Asker::new("y")));
        until("somebody waits", || lane.info().waiters == 1);
        lane.remove(VirtError::new(ErrorCode::NO_DOMAIN, "gone"));
        assert_eq!(refused(waiting.join().unwrap()).code(), ErrorCode::NO_DOMAIN);
    });
    drop(job);
    assert_eq!(
        refused(lane.begin(Job::Query, &Asker::new("z"))).code(),
        ErrorCode::NO_DOMAIN
    );
}

#[test]
fn many_threads_never_hold_the_lane_together() {
    let lane = lane(60_000, 64);
    let inside = AtomicUsize::new(0);
    let done = AtomicUsize::new(0);
    thread::scope(|scope| {
        for number in 0..16 {
            let (lane, inside, done) = (&lane, &inside, &done);
            scope.spawn(move || {
                for round in 0..50 {
                    let asker = if (number + round) % 7 == 0 {
                        Asker::at_once("impatient")
                    } else {
                        Asker::new("patient")
                    };
                    let job = if number == 0 { Job::Destroy } else { Job::Modify };
                    let Ok(guard) = lane.begin(job, &asker) else {
                        continue;
                    };
                    assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                    thread::yield_now();
                    inside.fetch_sub(1, Ordering::SeqCst);
                    drop(guard);
                    done.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    assert!(done.load(Ordering::Relaxed) > 500);
    let info = lane.info();
    assert!(info.job.is_none() && info.waiters == 0);
}
