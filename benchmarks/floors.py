"""What a device reaches at best: the rates that floors are counted with.

    python benchmarks/floors.py --device cuda

A large matrix product in bfloat16 and float32; a copy of 256 MB within the device's memory, of which bytes read and
bytes written count; and one from this machine's page-locked memory to the device.
"""

from __future__ import annotations

from measure import Table, header, memory_rate, parser, product_rate, upload_rate
from shared_options import FASTEST

# isort: split
import torch

from model.checkpoints.files import resolve_device
from model.errors import DeviceError

NO_DEVICE = 3
"""Exit status where the device is not there."""


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--device", default=FASTEST, help="auto, cpu, cuda or cuda:N")
    arguments = options.parse_args()
    try:
        device = resolve_device(arguments.device)
    except DeviceError as error:
        print(error)
        raise SystemExit(NO_DEVICE) from None
    header(arguments, str(device))
    table = Table("floors", "Rates of this device", {"what": "what", "rate": "rate", "unit": "unit"})
    table.keep(arguments, str(device))
    for dtype in (torch.bfloat16, torch.float32):
        name = str(dtype).removeprefix("torch.")
        table.add(what=f"matrix product, {name}", rate=product_rate(dtype, device) / 1e12, unit="TFLOP/s")
    table.add(what="memory, read and written", rate=memory_rate(device) / 1e9, unit="GB/s")
    table.add(what="copy from this machine", rate=upload_rate(device) / 1e9, unit="GB/s")
    table.finish(arguments, str(device))


if __name__ == "__main__":
    main()
