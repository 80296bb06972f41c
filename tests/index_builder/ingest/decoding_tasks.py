"""A decoder whose process ends or hangs over some files, by their names; imported by helper processes."""

import os
import time

from index_builder.ingest.decoding_process import decoder


def mischief(*arguments):
    """Reads as always, but for files whose names begin with `deadly` or `slow`, and once for `unlucky`."""
    read = decoder(*arguments)

    def answer(jobs):
        for job in jobs:
            name = os.path.basename(job.raw_path).decode()  # noqa: PTH119
            if name.startswith("deadly"):
                os._exit(1)
            if name.startswith("slow"):
                time.sleep(60)
            mark = b"/".join([os.environb[b"MARKS"], name.encode()])
            if name.startswith("unlucky") and not os.path.exists(mark):  # noqa: PTH110
                os.close(os.open(mark, os.O_CREAT))
                os._exit(1)
        return read(jobs)

    return answer
