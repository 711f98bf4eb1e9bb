//! Calculations off the threads that serve the network, bounded in number.

use std::sync::Arc;

use kms_ledger::machine;
use tokio::sync::Semaphore;

/// A place for work that blocks or calculates.
#[derive(Debug)]
pub struct Workshop {
    benches: Arc<Semaphore>,
    queue: Arc<Semaphore>,
}

/// There is too much work already, or the work failed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum WorkError {
    /// The queue is full.
    #[error("the queue is full")]
    Full,
    /// The work panicked.
    #[error("the work failed")]
    Failed,
}

impl Workshop {
    /// At most `at_once` jobs run while `waiting` more wait.
    pub fn new(at_once: usize, waiting: usize) -> Self {
        Self {
            benches: Arc::new(Semaphore::new(at_once)),
            queue: Arc::new(Semaphore::new(at_once.saturating_add(waiting))),
        }
    }

    /// Does a job when there is a place.
    pub async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, WorkError> {
        let queued = Arc::clone(&self.queue)
            .try_acquire_owned()
            .map_err(|_| WorkError::Full)?;
        let bench = Arc::clone(&self.benches)
            .acquire_owned()
            .await
            .map_err(|_| WorkError::Full)?;
        // The permits go with the job: it keeps its place even when its caller has gone.
        blocking(move || {
            let result = job();
            drop((queued, bench));
            result
        })
        .await
    }
}

/// Does a job that may block where that keeps nobody waiting.
pub async fn blocking<T: Send + 'static>(
    job: impl FnOnce() -> T + Send + 'static,
) -> Result<T, WorkError> {
    if machine::is_simulated() {
        return Ok(job());
    }
    let done = tokio::task::spawn_blocking(job);
    done.await.map_err(|_| WorkError::Failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn beyond_the_queue_work_is_refused_and_a_panic_frees_its_place() {
        let shop = Workshop::new(1, 0);
        let (start, wait) = std::sync::mpsc::channel::<()>();
        let first = shop.run(move || wait.recv().is_err());
        let mut first = std::pin::pin!(first);
        assert!(futures::poll!(first.as_mut()).is_pending());
        assert_eq!(shop.run(|| ()).await, Err(WorkError::Full));
        drop(start);
        assert_eq!(first.await, Ok(true));
        assert_eq!(
            shop.run(|| panic!("as intended")).await,
            Err::<(), _>(WorkError::Failed)
        );
        assert_eq!(shop.run(|| 5).await, Ok(5));
    }
}
