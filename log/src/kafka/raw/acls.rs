//! Rights at the brokers, which rdkafka's safe interface has not.

use super::ask::Ask;
use super::handle::{Failure, text};
use rdkafka::bindings as native;
use rdkafka::error::RDKafkaErrorCode as Code;
use std::ffi::{CString, c_char};
use std::ptr::NonNull;

/// What is allowed, where, to whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::kafka) struct Acl {
    pub(in crate::kafka) resource: native::rd_kafka_ResourceType_t,
    pub(in crate::kafka) name: String,
    /// All resources whose names begin so, and not the one of that name.
    pub(in crate::kafka) is_prefix: bool,
    /// As in `User:tidemark-ingest`.
    pub(in crate::kafka) principal: String,
    pub(in crate::kafka) operation: native::rd_kafka_AclOperation_t,
}

/// The native form of some; librdkafka copies what it keeps.
struct Bindings(Vec<NonNull<native::rd_kafka_AclBinding_t>>);

impl Bindings {
    fn push(&mut self, acl: &Acl) -> Result<(), Failure> {
        use native::rd_kafka_ResourcePatternType_t as Pattern;
        let string = |text: &str| CString::new(text).map_err(|error| Failure::local(error.to_string()));
        let (name, principal) = (string(&acl.name)?, string(&acl.principal)?);
        let pattern = match acl.is_prefix {
            true => Pattern::RD_KAFKA_RESOURCE_PATTERN_PREFIXED,
            false => Pattern::RD_KAFKA_RESOURCE_PATTERN_LITERAL,
        };
        let mut why = [0 as c_char; 512];
        // SAFETY: the strings are alive during the call, which copies them; `why` is as long as said.
        let binding = unsafe {
            native::rd_kafka_AclBinding_new(
                acl.resource,
                name.as_ptr(),
                pattern,
                principal.as_ptr(),
                c"*".as_ptr(),
                acl.operation,
                native::rd_kafka_AclPermissionType_t::RD_KAFKA_ACL_PERMISSION_TYPE_ALLOW,
                why.as_mut_ptr(),
                why.len(),
            )
        };
        let binding = NonNull::new(binding).ok_or_else(|| Failure::local(text(why.as_ptr())))?;
        self.0.push(binding);
        Ok(())
    }
}

impl Drop for Bindings {
    fn drop(&mut self) {
        for binding in &self.0 {
            // SAFETY: made above, and destroyed here alone.
            unsafe { native::rd_kafka_AclBinding_destroy(binding.as_ptr()) };
        }
    }
}

impl Ask<'_> {
    /// Makes these rights; one that is there stays.
    pub(in crate::kafka) fn allow(&self, acls: &[Acl]) -> Result<(), Failure> {
        let mut bindings = Bindings(Vec::with_capacity(acls.len()));
        for acl in acls {
            bindings.push(acl)?;
        }
        let mut pointers: Vec<_> = bindings.0.iter().map(|binding| binding.as_ptr()).collect();
        let answer = self.send(
            native::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_CREATEACLS,
            |options, queue| {
                let (first, count) = (pointers.as_mut_ptr(), pointers.len());
                // SAFETY: all of them are alive; the call copies what it keeps.
                unsafe { native::rd_kafka_CreateAcls(self.handle.ptr(), first, count, options, queue) };
            },
        )?;
        let mut count = 0;
        // SAFETY: the event is alive, and its type was asked for; the results live as long as it does, and there are `count` of them.
        let results = unsafe {
            let result = native::rd_kafka_event_CreateAcls_result(answer.event());
            let first = native::rd_kafka_CreateAcls_result_acls(result, &mut count);
            super::ask::pointers(first.cast_const(), count)
        };
        for result in results {
            // SAFETY: as above; an error belongs to its result.
            let (code, why) = unsafe {
                let error = native::rd_kafka_acl_result_error(result);
                if error.is_null() {
                    continue;
                }
                let why = text(native::rd_kafka_error_string(error));
                (Code::from(native::rd_kafka_error_code(error)), why)
            };
            return Err(Failure {
                code,
                text: why,
                fatal: false,
                abort: false,
            });
        }
        Ok(())
    }
}
