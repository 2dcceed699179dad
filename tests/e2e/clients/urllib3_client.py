"""urllib3 with its usual settings for retries, for the tests of clients that retry:

    python3 urllib3_client.py PORT PATH COUNT

Makes COUNT calls, one after the other, and prints the statuses that its caller gets and the seconds that it slept.
"""

import json
import sys
import time

import urllib3
from urllib3.util import Retry

port, path, count = sys.argv[1:]

slept = []
sleep = time.sleep


def noting(seconds):
    slept.append(seconds)
    sleep(seconds)


time.sleep = noting

pool = urllib3.PoolManager(retries=Retry(5, status_forcelist=[429], respect_retry_after_header=True))
statuses = [pool.request("GET", f"http://127.0.0.1:{port}{path}").status for _ in range(int(count))]
print(json.dumps({"statuses": statuses, "slept": slept}))
