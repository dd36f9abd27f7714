"""English words that say nothing of what a text is about."""

from __future__ import annotations

__all__ = ["STOP_WORDS"]

_STOP_WORDS = """
    a about above across after again against all almost along already also although always am among an and another
    any anything are aren't around as at away be became because become becomes been before began being below between
    both but by came can can't cannot could couldn't did didn't do does doesn't doing don't done down due during
    each either else enough etc even ever every everything except few first following for found from further get
    gets getting give given gives go goes going gone got had hadn't has hasn't have haven't having he he's her here
    hers herself him himself his how however i i'm i've if in indeed instead into is isn't it it's its itself just
    keep kept last least less let let's like likely made mainly make makes making many may maybe me might more most
    mostly much must my myself near nearly need needs neither never next no nor not nothing now of off often on once
    one ones only onto or other others otherwise our ours ourselves out over own per perhaps please put quite rather
    really said same say says second see seem seems seen several shall she she's should shouldn't since so some
    something sometimes soon still such take taken takes than that that's the their theirs them themselves then
    there there's therefore these they they're they've thing things this those though three through throughout thus
    to together too took toward towards two under unless until up upon us use used uses using usually various very
    via was wasn't way we we're we've well went were weren't what what's whatever when whenever where whereas
    whether which whichever while who who's whole whom whose why will with within without won't would wouldn't yes
    yet you you'll you're you've your yours yourself
"""
STOP_WORDS = frozenset(_STOP_WORDS.split())
