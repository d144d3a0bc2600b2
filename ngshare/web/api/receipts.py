"""Handlers for receipts of submissions."""

from __future__ import annotations

import base64

from ngshare.actions import receipts
from ngshare.actions.receipts import InvalidReceipt
from ngshare.protocol.receipts import format_receipt, parse_receipt
from ngshare.web.bodies.receive import ApiHandler
from ngshare.web.route_access import Audience, allow


class ReceiptHandler(ApiHandler):
    """Work with the key that signs receipts."""

    async def ensure_key(self) -> None:
        """Make the key if no request has made it yet."""
        if not await self.service.read(receipts.has_key):
            await self.service.write(receipts.make_key)


class Receipt(ReceiptHandler):
    """Return the receipt for a submission."""

    @allow(Audience.INSTRUCTOR_OR_SELF)
    async def get(self, course: str, assignment: str, student: str) -> None:
        await self.ensure_key()
        receipt = await self.run_read(
            receipts.get_receipt, course, assignment, student, self.field("timestamp") or None
        )
        self.reply(receipt=format_receipt(receipt))


class Verification(ReceiptHandler):
    """Check that the service still has what a receipt says, byte for byte."""

    @allow(Audience.INSTRUCTOR_OR_SELF)
    async def post(self) -> None:
        receipt = parse_receipt(await self.json_value("receipt", "Receipt cannot be JSON decoded"))
        await self.ensure_key()
        try:
            files = await self.run_read(receipts.require_received, receipt)
        except InvalidReceipt as error:
            self.reply(valid=False, message=str(error))
            return
        damaged = []
        async with self.service.file_slots.of(self.caller.name):
            for file in files:  # one at a time, so that other requests get threads in between
                damaged += await self.service.in_file_thread(
                    receipts.find_damaged, self.service.blobs, [file]
                )
        if damaged:
            message = (
                f"The receipt is genuine, but the content of {len(damaged)} of {len(files)} files "
                f"is missing or damaged at the service, among them {damaged[0]}"
            )
            self.reply(valid=False, message=message)
            return
        message = (
            f"The service has this submission exactly as the receipt says: {len(files)} files, "
            f"{receipt.bytes} bytes"
        )
        self.reply(valid=True, message=message)


class PublicKey(ReceiptHandler):
    """Return the key with which anybody can verify the signature of a receipt."""

    @allow(Audience.PUBLIC)
    async def get(self) -> None:
        await self.ensure_key()
        key = await self.service.read(receipts.get_public_key)
        self.reply(algorithm="Ed25519", key=base64.b64encode(key).decode())


routes = [
    (r"receipt/([^/]+)/([^/]+)/([^/]+)", Receipt),
    (r"receipts/verify", Verification),
    (r"receipt-key", PublicKey),
]
