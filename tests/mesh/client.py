"""The caller: client.py ADDRESS PORT HOST AMOUNT [RATE] [HEADER=VALUE …], prints what it got as one line of JSON.

AMOUNT is a number of requests or, with an `s`, of seconds; RATE is requests per second, 0 for as fast as answers come.
Every second request goes over a connection that is kept, the others over a new one each. In a header's value `{n}` is
the number of the request, modulo 40."""
import collections
import http.client
import json
import sys
import time


class Caller:
    def __init__(self, address, port, host, headers):
        self.address, self.port, self.host, self.headers, self.kept = address, port, host, headers, None

    def ask(self, number):
        """(what came, headers and the beginning of the body)"""
        keep = number % 2 == 0
        connection = self.kept if keep else None
        connection = connection or http.client.HTTPConnection(self.address, self.port, timeout=5)
        try:
            headers = {k: v.replace("{n}", str(number % 40)) for k, v in self.headers.items()}
            connection.request("GET", "/", headers={"Host": self.host} | headers)
            answer = connection.getresponse()
            body = answer.read().decode(errors="replace")
            theirs = {k.lower(): v for k, v in answer.getheaders()}
            self.kept = connection if keep and not answer.will_close else self.kept if not keep else None
            if not keep:
                connection.close()
            return str(answer.status), theirs, body
        except (OSError, http.client.HTTPException) as error:
            if keep:
                self.kept = None
            return type(error).__name__, {}, str(error)


def kind(status, headers):
    """passed: counted and let through. denied: 429. uncounted: let through without quota headers. lost: all the rest."""
    if status == "200":
        return "passed" if "x-ratelimit-limit" in headers else "uncounted"
    return "denied" if status == "429" else "lost"


def main():
    address, port, host, amount, *rest = sys.argv[1:]
    rate = float(rest.pop(0)) if rest and "=" not in rest[0] else 0
    caller = Caller(address, int(port), host, dict(one.split("=", 1) for one in rest))
    kinds, statuses, first, last = collections.Counter(), collections.Counter(), {}, {}
    began, number = time.monotonic(), 0
    seconds = float(amount[:-1]) if amount.endswith("s") else None
    while time.monotonic() - began < seconds if seconds else number < int(amount):
        status, headers, body = caller.ask(number)
        number += 1
        statuses[status] += 1
        kinds[kind(status, headers)] += 1
        seen = {"headers": headers, "body": body[:4000]}
        first.setdefault(status, seen)
        last[status] = seen
        if rate:
            time.sleep(max(0.0, began + number / rate - time.monotonic()))
    print(json.dumps({"sent": number, "kinds": kinds, "statuses": statuses, "first": first, "last": last}))


main()
