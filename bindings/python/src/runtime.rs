//! The threads that move messages: one set for a process. They do not survive a fork, and neither does what uses them.

use std::process;
use std::sync::Arc;
use std::time::Duration;

use kms_client::{ApiError, Code};
use parking_lot::Mutex;
use pyo3::prelude::*;
use tokio::runtime::{Builder, Runtime};
use tokio::task::AbortHandle;

use crate::raised_err;

/// The threads of a process, and which one that is.
static THREADS: Mutex<Option<(u32, Arc<Runtime>)>> = Mutex::new(None);
/// How often is looked for a signal while something is waited for.
const LOOK_FOR_SIGNALS: Duration = Duration::from_millis(100);

/// The right to use the threads of the process in which it was made.
pub(crate) struct Owner {
    process: u32,
    runtime: Arc<Runtime>,
}

impl Owner {
    /// Starts the threads if there are none.
    pub(crate) fn of_this_process(py: Python<'_>) -> PyResult<Self> {
        let me = process::id();
        let mut threads = THREADS.lock();
        if let Some((process, runtime)) = &*threads
            && *process == me
        {
            let (process, runtime) = (*process, Arc::clone(runtime));
            return Ok(Self { process, runtime });
        }
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("kms")
            .enable_all()
            .build();
        let runtime = runtime
            .map_err(|error| raised_err(py, &ApiError::new(Code::Internal, error.to_string())))?;
        let runtime = Arc::new(runtime);
        // Those of the parent are forgotten and not ended: their threads are not here to be waited for.
        if let Some(parents) = threads.replace((me, Arc::clone(&runtime))) {
            std::mem::forget(parents);
        }
        Ok(Self {
            process: me,
            runtime,
        })
    }

    /// Refuses to go on in a child that was forked off.
    pub(crate) fn check(&self, py: Python<'_>) -> PyResult<()> {
        if self.process == process::id() {
            return Ok(());
        }
        let why = "the client was opened before this process was forked off: open it afterwards";
        Err(raised_err(py, &ApiError::new(Code::Misc, why)))
    }

    /// Waits for something with the interpreter let go; a signal that raises ends it.
    pub(crate) fn wait<T: Send>(
        &self,
        py: Python<'_>,
        work: impl Future<Output = Result<T, ApiError>> + Send,
    ) -> PyResult<T> {
        let done: PyResult<Result<T, ApiError>> = py.detach(|| {
            self.runtime.block_on(async {
                let mut work = std::pin::pin!(work);
                loop {
                    match tokio::time::timeout(LOOK_FOR_SIGNALS, &mut work).await {
                        Ok(result) => return Ok(result),
                        Err(_) => Python::attach(|py| py.check_signals())?,
                    }
                }
            })
        });
        done?.map_err(|error| raised_err(py, &error))
    }

    /// Starts something that nobody waits for here.
    pub(crate) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) -> AbortHandle {
        self.runtime.spawn(work).abort_handle()
    }
}
