"""Coverage of a customer's minute: how much of the traffic that was to be expected has been measured.

Definition. The stream applies it to what came in time, history to everything it stores; both are tested against
tests/streams/coverage_reference.py. m is a minute aligned to the epoch; reports and slices belong to the minute that
holds their corrected `start` (intervals never cross a minute). c is a customer, box a device.

    f(box, m)       length of the union of the box's report intervals [start, end) of m, over 60 s: 0..1. Idle
                    reports count.
    req(box, c, m)  requests in the box's distinct slices of m for c.
    M(box, m)       the newest WEIGHT_MINUTES (15) minutes with f > 0 among the PLACEMENT_TTL_MINUTES (60) minutes
                    m-59 .. m.
    w(box, c, m)    sum of req(box, c, .) over M / sum of f(box, .) over M, in requests per minute; 0 if M is empty.
                    The box is placed for c exactly while w > 0.
    drop(box, m)    sum over the box's boots of max(0, top - base), where D of a report is its cumulative
                    dropped_requests - spool_dropped_requests, top = largest D of the boot's reports of m, and base =
                    top of the newest earlier minute among m-59 .. m-1 with a report of that boot; if there is none,
                    0 if the boot's report of m with the lowest seq has seq 1, else that report's D.
    dropped(c, m)   sum over boxes of drop(box, m) * w(box, c, m) / (sum over all c' of w(box, c', m)). A box without
                    weights has nobody to charge its drops to; they count nowhere.
    measured(c, m)  sum over all boxes of req(box, c, m), also of boxes with f = 0.

    coverage(c, m) = sum of w*f / sum of w over boxes  *  measured / (measured + dropped)

The second factor is 1 when measured + dropped is 0. Coverage is NaN when the sum of w is 0: nothing was expected.
"""
