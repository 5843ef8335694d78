"""The scale of answers: how much better A or B is, in the words of the Llama 2 paper (arXiv:2307.09288, section 3.2.1)."""

from django.db import models

# Weakest first: the strength that is stored is a place in this list, counted from 1.
WORDS = {
    2: ("better",),
    4: ("slightly better", "significantly better"),
    6: ("slightly better", "better", "significantly better"),
    8: ("negligibly better or unsure", "slightly better", "better", "significantly better"),
}
RANKS = {"negligibly better or unsure": 1, "slightly better": 2, "better": 3, "significantly better": 4}


class LeastGrade(models.IntegerChoices):
    """The weakest grade that is worth training on, as a rank among the words of all scales."""

    ANY = 0, "Any grade"
    SLIGHTLY = 2, "Slightly better or more"
    BETTER = 3, "Better or more"
    SIGNIFICANTLY = 4, "Significantly better"


class Grades(models.IntegerChoices):
    """How many grades a project offers in all, half of them for each side; a tie and “both bad” come on top."""

    TWO = 2, "2: A or B is better"
    FOUR = 4, "4: slightly or significantly better"
    SIX = 6, "6: slightly, plainly or significantly better"
    EIGHT = 8, "8: negligibly, slightly, plainly or significantly better"

    @property
    def strengths(self) -> int:
        """The strongest one; the weakest is 1."""
        return self.value // 2

    def words(self, strength: int) -> str:
        """`Grades.SIX.words(3)` → "significantly better"."""
        return WORDS[self.value][strength - 1]

    def covers(self, strength: int) -> range:
        """The ranks, of the four that any scale has, for which a strength stands: all of them where there is only one."""
        ranks = [0, *(self.rank(each) for each in range(1, self.strengths)), max(RANKS.values())]
        return range(ranks[strength - 1] + 1, ranks[strength] + 1)

    def rank(self, strength: int) -> int:
        """The place of the words among all that any scale has, 1 to 4: one order for judgements of several scales."""
        return RANKS[self.words(strength)]
