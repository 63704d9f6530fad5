"""The same C-STORE handler under a stock pynetdicom AE stores byte for byte what it stores under our own transport."""

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from pydicom import dcmread
from pydicom.uid import UID
from pynetdicom import AE, evt
from pynetdicom.presentation import PresentationContext

from integration.peers import dataset_bytes, sample
from integration.receiving import Receiving, receiving
from integration.test_receive import associate, send
from venturi.model import Envelope
from venturi.receive.port import StoreHandler, StoreRequest

NAMES = (
    "CT_small.dcm",
    "MR_small_implicit.dcm",
    "MR_small_bigendian.dcm",
    "MR_small_RLE.dcm",
    "JPEG2000.dcm",
    "image_dfl.dcm",
    "rtplan.dcm",
    "reportsi.dcm",
    "waveform_ecg.dcm",
)


@contextlib.contextmanager
def stock(handler: StoreHandler, contexts: list[tuple[str, str]]) -> Iterator[int]:
    """A stock pynetdicom AE that gives each object to the handler; its port."""

    def stored(event: evt.Event) -> int:
        request, association = event.request, event.assoc
        store = handler.begin(
            StoreRequest(
                sop_class_uid=str(request.AffectedSOPClassUID),
                sop_instance_uid=str(request.AffectedSOPInstanceUID),
                abstract_syntax=str(event.context.abstract_syntax),
                transfer_syntax=str(event.context.transfer_syntax),
                calling_ae=association.requestor.ae_title.strip(),
                called_ae=association.acceptor.ae_title.strip(),
                peer="local",
                address=association.requestor.address or "",
            )
        )
        store.write(request.DataSet.getvalue())
        return store.finish()

    ae = AE("VENTURI")
    for abstract, transfer in contexts:
        context = PresentationContext()
        context.abstract_syntax, context.transfer_syntax = UID(abstract), [UID(transfer)]
        ae.add_supported_context(context.abstract_syntax, context.transfer_syntax)
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, stored)])
    try:
        yield server.socket.getsockname()[1]
    finally:
        server.shutdown()


def test_a_stock_pynetdicom_ae_stores_the_same_by_the_same_handler(tmp_path: Path, corpus: Path) -> None:
    paths = [sample(corpus, name) for name in NAMES]
    headers = [dcmread(path, stop_before_pixels=True) for path in paths]
    metas = [header.file_meta for header in headers]
    kinds = [(str(meta.MediaStorageSOPClassUID), str(meta.TransferSyntaxUID)) for meta in metas]

    def all_sent(port: int) -> None:
        association = associate(port, [(abstract, [transfer]) for abstract, transfer in kinds])
        for at, (path, header) in enumerate(zip(paths, headers, strict=True)):
            status = send(
                association,
                dataset_bytes(path),
                kinds[at][0],
                header.SOPInstanceUID,
                context_id=2 * at + 1,
            )
            assert status == 0x0000, path
        association.release()

    def kept(receiver: Receiving) -> dict[tuple[str, str], tuple[bytes, str, Envelope]]:
        return {
            (one.envelope.sop_instance_uid, one.envelope.transfer_syntax): (
                receiver.dataset(one),
                one.sha256,
                replace(one.envelope, received_at=0.0),
            )
            for one in receiver.instances()
        }

    (tmp_path / "ours").mkdir()
    (tmp_path / "stock").mkdir()
    with receiving(tmp_path / "ours") as receiver:
        all_sent(receiver.port)
        ours = kept(receiver)
    with receiving(tmp_path / "stock") as receiver, stock(receiver.handler, kinds) as port:
        all_sent(port)
        theirs = kept(receiver)
    assert len(ours) == len(NAMES)
    assert ours == theirs
    assert sorted(data for data, _, _ in ours.values()) == sorted(dataset_bytes(path) for path in paths)
