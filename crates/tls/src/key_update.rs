//! Key updates that the server sends (RFC 8446 §4.6.3): at the right place in the outbox, whether a
//! [`Sealer`](crate::Sealer) makes the records or the kernel does.
//!
//! # Limitations
//!
//! The kernel counts no records, so they are counted by the plaintext that was sent, between responses. A
//! single response of more than 380 GB goes beyond the bound of RFC 8446 §5.5 for AES-GCM.

use karez_transfer::{Outbox, RecordKind};
use std::sync::Arc;

use crate::kernel_tx::KernelTx;
use crate::session::{KEY_UPDATE, KernelUpdate, Session};

impl Session {
    /// Appends a key update that is due. To be called before a task appends something. Where a
    /// [`Sealer`](crate::Sealer) makes the records, only a peer that has asked for the update gets it in
    /// this way, and only while nothing is queued: else the sealer puts it in before one of its next
    /// records. Where the kernel seals, its keys are changed behind it, if it
    /// can change them; else [`should_close`](Self::should_close) says so.
    pub fn update_keys(&mut self, outbox: &mut Outbox) {
        if self.kernel_seals() {
            return self.update_kernel_keys(outbox);
        }
        if outbox.queued() == 0 && self.shared().take_update_due() {
            outbox.push_record(RecordKind::HANDSHAKE, KEY_UPDATE.to_vec());
        }
    }

    fn update_kernel_keys(&mut self, outbox: &mut Outbox) {
        self.count_sent(outbox);
        if self.kernel_update_due()
            && self.shared().kernel_rekeys()
            && let Ok(Some(KernelUpdate { message, keys })) = self.kernel_update()
        {
            outbox.push_record(RecordKind::HANDSHAKE, message.to_vec());
            outbox.push_switch(Box::new(KernelTx::update(keys, Arc::clone(self.shared()))));
        }
    }
}
